"""Texts by item id from a file: JSON {id: text}, a JSON list of records, JSONL, CSV or TSV.

Nothing is guessed about a value: a text is a string, or absent; whatever else stands there (a list,
NaN, a number, an object) is refused with its record, as are ids that come twice.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import parse_json
from ur4rec_recbole.extract.characters import whole_characters

ID_NAMES = ("item_id", "id", "asin", "parent_asin", "movieid", "token")
TEXT_NAMES = ("text", "description", "summary", "caption", "title")
LAYOUT = {
    ".csv": "CSV in UTF-8 with commas between cells and quotes around cells that hold any",
    ".tsv": "TSV in UTF-8 with tabs between cells and quotes around cells that hold any",
    ".jsonl": "JSON in UTF-8, one object a line",
    ".ndjson": "JSON in UTF-8, one object a line",
    ".json": "JSON in UTF-8: {item_id: text}, or a list of objects",
}
Record = tuple[str, Mapping[str, object]]  # where it stands, and its columns


def read_texts(
    path: str, id_column: str | None = None, text_columns: Sequence[str] = ()
) -> dict[str, str]:
    """Read texts by item id.

    Parameters
    ----------
    path
        The file; its suffix tells the layout, see `LAYOUT`.
    id_column, text_columns
        Names in the records. Several text columns are joined by a space. Guessed where left out.
    """
    file = Path(path)
    if not os.path.isfile(path) or file.suffix.lower() not in LAYOUT:
        raise InputError(
            f"texts file {file.name!r}", f"must be a file that ends in one of {list(LAYOUT)}",
            "another ending" if os.path.isfile(path) else "no such file", "Check --texts.",
        )  # fmt: skip
    try:
        return _texts(_records(file), file.name, id_column, text_columns)
    except InputError:
        raise
    except (ValueError, OSError, csv.Error) as error:  # and JSON's, and Unicode's
        raise InputError(
            f"texts file {file.name!r}", f"must be {LAYOUT[file.suffix.lower()]}", error,
            "Correct the file.",
        ) from error  # fmt: skip


def _records(file: Path) -> Iterator[Record]:
    """Yield the records; {id: text} gives records of an "id" and a "text"."""
    suffix = file.suffix.lower()
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if suffix in (".csv", ".tsv"):
            yield from _rows(lines, "\t" if suffix == ".tsv" else ",", file.name)
            return
        if suffix in (".jsonl", ".ndjson"):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield from _objects([_json(line, f"line {number}")], file.name, number, "line")
            return
        found = _json(lines.read(), "")
    if isinstance(found, dict):
        for key, text in found.items():
            yield f"id {key!r}", {"id": key, "text": text}
    elif isinstance(found, list):
        yield from _objects(found, file.name, 1, "record")
    else:
        raise ValueError(f"a single {type(found).__name__}")


def _json(text: str, place: str) -> object:
    try:
        return parse_json(text, halves=True)
    except ValueError as error:
        raise ValueError(f"{place}: {error}" if place else str(error)) from error


def _objects(found: Iterable[object], name: str, first: int, unit: str) -> Iterator[Record]:
    for number, record in enumerate(found, first):
        place = f"{unit} {number}"
        if not isinstance(record, dict):
            raise InputError(
                f"texts file {name!r}, {place}", "must be an object with named columns",
                type(record).__name__, "Correct the record.",
            )  # fmt: skip
        yield place, record


def _rows(lines: Iterable[str], delimiter: str, name: str) -> Iterator[Record]:
    """Yield the rows of a table, each with as many cells as there are columns."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    columns = next(reader, [])
    repeated = [column for column in columns if column and columns.count(column) > 1]
    if repeated:
        raise ValueError(f"the column {repeated[0]!r} for a second time")
    for cells in reader:
        if cells and len(cells) != len(columns):
            raise InputError(
                f"texts file {name!r}, line {reader.line_num}",
                f"must have as many cells as there are columns: {len(columns)}", len(cells),
                f"Put quotes around a text that holds {delimiter!r} or a line's end.",
            )  # fmt: skip
        if cells:
            yield f"line {reader.line_num}", dict(zip(columns, cells, strict=True))


def _texts(
    records: Iterable[Record], name: str, id_column: str | None, text_columns: Sequence[str]
) -> dict[str, str]:
    texts: dict[str, str] = {}
    places: dict[str, str] = {}
    for place, record in records:
        if not places:  # the first record decides which columns are meant
            id_column = id_column or _guess(record, ID_NAMES, name, "--id-column")
            text_columns = text_columns or [_guess(record, TEXT_NAMES, name, "--text-column")]
        where = f"texts file {name!r}, {place}"
        token = _token(record.get(str(id_column)), where, id_column)
        if token in places:
            raise InputError(
                f"{where}: id {token!r}", "must come once", f"{token!r} at {places[token]} too",
                "Keep one of the two.",
            )  # fmt: skip
        places[token] = place
        words = [_text(record, column, f"{where} (id {token!r})") for column in text_columns]
        texts[token] = " ".join(words).strip()
    return texts


def _token(value: object, where: str, column: str | None) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise InputError(
            f"{where}: column {column!r}", "must hold an item's id, a string or a whole number",
            _kind(value), "Correct the record, or name another column with --id-column.",
        )  # fmt: skip
    return str(value)


def _text(record: Mapping[str, object], column: str, where: str) -> str:
    value = record.get(column, ...)
    if value is not None and not isinstance(value, str):
        raise InputError(
            f"{where}: column {column!r}", "must hold a text, or null for none",
            "no such column" if value is ... else _kind(value),
            "Write the text as one string, or name another column with --text-column.",
        )  # fmt: skip
    return whole_characters(value or "")


def _kind(value: object) -> str:
    return "nothing" if value in (None, "") else f"{type(value).__name__} {str(value)[:60]!r}"


def _guess(record: Mapping[str, object], names: Sequence[str], file: str, option: str) -> str:
    for wanted in names:
        for column in record:
            if column.lower() == wanted:
                return column
    raise InputError(
        f"texts file {file!r}: columns", f"must include one of {list(names)}", list(record),
        f"Name the column with {option}.",
    )  # fmt: skip
