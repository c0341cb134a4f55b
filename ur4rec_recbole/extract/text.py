"""Item texts to a feature table: `ur4rec extract text`.

Texts come from a file, from the item's own columns, or from a language model (`--write llm`).
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.encoders import TextEncoder
from ur4rec_recbole.extract.fingerprints import text_hash

ID_NAMES = ("item_id", "id", "asin", "parent_asin", "movieid", "token")
TEXT_NAMES = ("text", "description", "summary", "caption", "title")


def extract_text(texts: Mapping[str, str], encoder: TextEncoder, source: str) -> FeatureTable:
    """Encode texts into a table, one row a token in the given order; empty texts give no row.

    Parameters
    ----------
    texts
        By item token.
    encoder
        From `text_encoder`.
    source
        What the texts are, for the provenance.
    """
    kept = {token: text for token, text in texts.items() if text.strip()}
    if not kept:
        raise InputError(
            "texts", "must name at least one item of the data set with a text that is not empty",
            f"{len(texts)} texts, none of use", "Check the file, or the data set's .item columns.",
        )  # fmt: skip
    vectors = encoder.encode(list(kept.values()))  # [R, W]
    provenance = {
        "kind": "item_text",
        "encoder": encoder.name,
        "encoder_version": encoder.version,
        "source": source,
        "source_sha256": text_hash(kept),
        "split": "none",
    }
    return FeatureTable(np.array(list(kept)), vectors.astype(np.float16), provenance)


def read_texts(
    path: str, id_column: str | None = None, text_columns: Sequence[str] = ()
) -> dict[str, str]:
    """Read texts by item id from JSON {id: text}, a JSON list, JSONL, CSV or TSV.

    Parameters
    ----------
    path
        The file; its suffix tells the layout.
    id_column, text_columns
        Names in the records. Several text columns are joined by a space. Guessed where left out.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"texts file {file.name!r}", "must exist", "no such file", "Check --texts."
        )
    suffix = file.suffix.lower()
    try:
        records = _records(file, suffix)
    except (ValueError, csv.Error) as error:  # UnicodeDecodeError and JSONDecodeError included
        raise InputError(
            f"texts file {file.name!r}", f"must be sound {suffix or 'JSON'} in UTF-8", error,
            "Mend the file; JSON may be {item_id: text}.",
        ) from error  # fmt: skip
    if isinstance(records, dict):
        return _plain(records, file.name)
    return _from_records(records, file.name, id_column, text_columns)


def _records(file: Path, suffix: str) -> dict | list:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if suffix in (".csv", ".tsv"):
            return list(csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ","))
        if suffix in (".jsonl", ".ndjson"):
            return [json.loads(line) for line in lines if line.strip()]
        return json.load(lines)


def _plain(records: Mapping[str, object], name: str) -> dict[str, str]:
    wrong = [key for key, text in records.items() if not isinstance(text, str)]
    if wrong:
        raise InputError(
            f"texts file {name!r}", "must map every item id to one text",
            f"{len(wrong)} other values, such as that of {wrong[0]!r}",
            "Use JSONL with --text-column for records.",
        )  # fmt: skip
    return {str(key): str(text) for key, text in records.items()}


def _from_records(
    records: Sequence[object], name: str, id_column: str | None, text_columns: Sequence[str]
) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise InputError(
                f"texts file {name!r}, record {number}", "must be an object with named columns",
                type(record).__name__, "Mend the record.",
            )  # fmt: skip
        id_name = id_column or _guess(record, ID_NAMES, name, "--id-column")
        text_names = list(text_columns) or [_guess(record, TEXT_NAMES, name, "--text-column")]
        missing = [column for column in [id_name, *text_names] if column not in record]
        token = str(record.get(id_name, ""))
        if missing or token in texts:
            raise InputError(
                f"texts file {name!r}, record {number}",
                "must have every named column and an id of its own",
                f"missing {missing}" if missing else f"id {token!r} for a second time",
                "Mend the record, or name other columns.",
            )
        texts[token] = " ".join(str(record[column] or "") for column in text_names).strip()
    return texts


def _guess(record: Mapping[str, object], names: Sequence[str], file: str, option: str) -> str:
    for wanted in names:
        for column in record:
            if column and column.lower() == wanted:
                return column
    raise InputError(
        f"texts file {file!r}: columns", f"must include one of {list(names)}", list(record),
        f"Name the column with {option}.",
    )  # fmt: skip
