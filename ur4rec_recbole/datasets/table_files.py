"""Reading a table of whatever kind: CSV, TSV, JSONL or Parquet, plain or gzipped.

Encoding and delimiter are found out and told. Nothing is interpreted here: cells of text files stay
texts, so that an id such as 007 or NA remains one.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ur4rec_recbole.core.errors import InputError, needs
from ur4rec_recbole.core.files import parse_json

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
        OSError, EOFError, ValueError, TypeError, NotImplementedError, csv.Error, zlib.error,
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
    if "\0" in text:
        raise ValueError("NUL characters; save it as UTF-8")
    delimiter = _delimiter(text)
    names, kept = _cells(text, delimiter)
    frame = pd.DataFrame(kept, columns=names, dtype=object)
    return ReadTable(frame, f"text, {NAMES[delimiter]} between columns, {encoding}")


def _cells(text: str, delimiter: str) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns and the rows; ValueError for rows of other widths."""
    rows = _rows(text, delimiter)
    kept = []
    try:
        names = [name.strip() for name in next(rows, [])]
        for row in filter(None, rows):
            if len(row) != len(names):
                raise ValueError(f"{len(row)} cells, where the first line has {len(names)}")
            if delimiter == "\t" and any("\t" in cell and "\n" in cell for cell in row):
                raise ValueError("a quoted cell that holds several rows")
            kept.append(row)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error
    return names, kept


def _rows(text: str, delimiter: str) -> Any:
    """Read rows; strictly, or a quote that is never closed takes in all rows that follow."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _decoded(content: bytes) -> tuple[str, str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError as error:
        if not content[: error.start].isascii():  # other bytes before were UTF-8
            line = content[: error.start].count(b"\n") + 1
            raise ValueError(f"line {line}: UTF-8 is damaged there: {error.reason}") from None
        with needs("charset-normalizer", "to read texts that are not in UTF-8", "tables"):
            from charset_normalizer import from_bytes
        first = max(0, error.start - SAMPLE // 2)  # before it all is ASCII, which tells nothing
        best = from_bytes(content[first : first + SAMPLE]).best()
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
        try:
            rows = zip(_rows(text, delimiter), range(100), strict=False)
            widths = [len(row) for row, _ in rows if row]
        except csv.Error:
            continue
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
                record = parse_json(line, halves=True)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON object: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is no JSON object: a {type(record).__name__}")
            records.append(record)
    return ReadTable(_objects(records), "JSON, one object a line")


def _parquet(content: bytes) -> ReadTable:
    with needs("pyarrow", "to read Parquet", "tables"):
        import pyarrow.parquet
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    # A column that pandas has written as its index is a column here.
    return ReadTable(table.to_pandas(integer_object_nulls=True, ignore_metadata=True), "Parquet")


def _objects(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Make a table whose whole numbers stay whole where others are missing."""
    return pd.DataFrame(records, dtype=object)


def as_pandas(frame: Any) -> pd.DataFrame:
    """Return a copy of a pandas or polars table, or of a mapping of columns, as pandas."""
    if hasattr(frame, "to_dict") and not isinstance(frame, pd.DataFrame):
        frame = frame.to_dict(as_series=False)  # polars; needs no pyarrow
    if not isinstance(frame, pd.DataFrame):
        frame = pd.DataFrame({name: list(cells) for name, cells in frame.items()}, dtype=object)
    frame = frame.rename(columns=str).reset_index(drop=True)
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        raise InputError(
            "a table", "must have columns of different names", f"{twice} twice", "Rename them."
        )
    return frame


READERS: dict[str, Callable[[bytes], ReadTable]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
    ".pq": _parquet,
}
