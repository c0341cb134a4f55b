"""Reading a table of whatever kind: CSV, TSV, JSONL or Parquet, plain or gzipped.

Encoding and delimiter are found out and told. Nothing is interpreted here: cells of text files stay
texts, so that an id such as 007 or NA remains one.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ur4rec_recbole.core.errors import InputError, needs

DELIMITERS = (",", "\t", ";", "|")
SAMPLE = 200_000  # bytes that the encoding is guessed from
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


class ReadTable(NamedTuple):
    """A table as it stands in its file.

    Attributes
    ----------
    frame
        Columns of objects: texts of a text file, whatever JSON or Parquet holds otherwise.
    form
        What was found out, as in "CSV, semicolon, cp1252".
    """

    frame: pd.DataFrame
    form: str


def read_table(path: Path) -> ReadTable:
    """Read a table; its suffix tells the kind.

    Raises
    ------
    InputError
        For a file that is missing, of another kind, damaged, empty, or has a column twice.
    """
    if not path.is_file():
        raise InputError(f"table {path.name!r}", "must exist", "no such file", "Check the path.")
    kinds = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    read = READERS.get(kinds[-1] if kinds else "")
    if read is None:
        raise InputError(
            f"table {path.name!r}", f"must be one of {', '.join(READERS)}, or .gz of it",
            path.suffix or "no suffix", "Rename or convert the file.",
        )  # fmt: skip
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        found = read(content)
    except (
        OSError, EOFError, ValueError, TypeError, RecursionError, csv.Error, zlib.error,
    ) as error:  # fmt: skip
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"table {path.name!r}", f"must be sound {kinds[-1]}", " ".join(str(error).split()),
            "Mend the file, or export it again.",
        ) from error  # fmt: skip
    names = [str(name) for name in found.frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not len(found.frame):
        raise InputError(
            f"table {path.name!r}", "must have rows, and columns of different names",
            f"{twice} twice" if twice else "no row", "Correct the file.",
        )  # fmt: skip
    found.frame.columns = pd.Index(names)
    return found


def _delimited(content: bytes) -> ReadTable:
    text, encoding = _decoded(content)
    delimiter = _delimiter(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip() for name in next(rows, [])]
    kept = []
    for row in rows:
        if row and len(row) != len(names):
            raise ValueError(f"line {rows.line_num} has {len(row)} cells, the first {len(names)}")
        if row:
            kept.append(row)
    frame = pd.DataFrame(kept, columns=names, dtype=object)
    return ReadTable(frame, f"text, {NAMES[delimiter]} between columns, {encoding}")


def _decoded(content: bytes) -> tuple[str, str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(content[:SAMPLE]).best()
        if best is None:
            raise ValueError("its encoding cannot be told; save it as UTF-8") from None
        return content.decode(best.encoding), f"{best.encoding} (guessed)"


def _delimiter(text: str) -> str:
    """Choose what parts the first rows into the most columns, as many in each row.

    csv.Sniffer looks at how often a character occurs and is misled by commas within texts; this
    parses, quotes and all.
    """
    best, most = ",", 1
    for delimiter in DELIMITERS:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        widths = [len(row) for row, _ in zip(rows, range(100), strict=False) if row]
        if widths and min(widths) == max(widths) > most:
            best, most = delimiter, widths[0]
    if most == 1:  # rows of different widths: what the first line has most of
        first = text.partition("\n")[0]
        best = max(DELIMITERS, key=first.count)
    return best


def _json_lines(content: bytes) -> ReadTable:
    records = []
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                records.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ValueError(f"line {number} is no JSON object: {error}") from error
    return ReadTable(_objects(records), "JSON, one object a line")


def _parquet(content: bytes) -> ReadTable:
    with needs("pyarrow", "to read Parquet", "tables"):
        import pyarrow.parquet
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    return ReadTable(table.to_pandas(integer_object_nulls=True), "Parquet")


def _objects(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Make a table whose whole numbers stay whole where others are missing."""
    return pd.DataFrame(records, dtype=object)


def as_pandas(frame: Any) -> pd.DataFrame:
    """Return a copy of a pandas or polars table, or of a mapping of columns, as pandas."""
    if hasattr(frame, "to_dict") and not isinstance(frame, pd.DataFrame):
        frame = frame.to_dict(as_series=False)  # polars; needs no pyarrow
    if isinstance(frame, pd.DataFrame):
        return frame.rename(columns=str).reset_index(drop=True)
    return pd.DataFrame({str(name): list(cells) for name, cells in frame.items()}, dtype=object)


READERS: dict[str, Callable[[bytes], ReadTable]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
    ".pq": _parquet,
}
