"""Reads RecBole's atomic files literally: a line is a row, the text between separators a cell.

A quote is an ordinary character and NA an ordinary value: nothing is unquoted, unescaped, stripped
or treated as missing. A line that cannot be read this way is an `InputError` that names it.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

import numpy as np
import pandas as pd

from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.data import quick_cells

KINDS = ("token", "float", "token_seq", "float_seq")
LONGEST_LINE = quick_cells.LONGEST_LINE
EXAMPLE = "Write for example user_id:token, item_id:token and timestamp:float into the first line"


def read_header(path: Path, separator: str = "\t", encoding: str | None = None) -> dict[str, str]:
    """Return the type of each column, in the file's order, from its first line."""
    if not separator:
        raise InputError(
            "Configuration key 'field_separator'", "must be a character or more", repr(separator),
            r'Write for example "\t".',
        )  # fmt: skip
    encoding = encoding or "utf-8"
    with _text(path, encoding) as file:
        line = _line(file)
    if line.startswith("\ufeff"):
        raise InputError(
            path.name, f"must be text in {encoding}", "a byte order mark before the first column",
            "Save it without one, or set encoding: utf-8-sig.",
        )  # fmt: skip
    if not line.strip():
        raise InputError(
            f"{path.name}, line 1", "must name the columns with their types", "an empty line",
            f"{EXAMPLE}.",
        )  # fmt: skip
    cells = line.removesuffix("\n").split(separator)
    if len(cells) == 1 and line.count(":") != 1:
        _refuse_separator(path, line, separator)
    header: dict[str, str] = {}
    for cell in cells:
        name, _, kind = cell.partition(":")
        if not name or kind not in KINDS or name in header:
            twice = "a second time" if name in header else ""
            raise InputError(
                f"{path.name}, line 1", f"must give every column a name and one of {list(KINDS)}",
                f"{cell[:80]!r} {twice}".strip(), nearest(kind, KINDS) or f"{EXAMPLE}.",
            )  # fmt: skip
        header[name] = kind
    return header


def read_cells(
    path: Path,
    separator: str = "\t",
    encoding: str | None = None,
    wanted: Collection[str] = (),
) -> pd.DataFrame:
    """Return the text of all cells; row r is line r + 2 of the file.

    Parameters
    ----------
    path, separator, encoding
        The file, its column separator and its encoding (default: UTF-8).
    wanted
        Columns to read; all of them if empty.

    Returns
    -------
    cells
        Columns of strings, by name and in the file's order.
    """
    header = read_header(path, separator, encoding)
    places = [place for place, name in enumerate(header) if name in wanted or not wanted]
    quickly = quick_cells.read(path, separator, encoding or "utf-8", list(header), places)
    if quickly is not None:
        return quickly
    with _text(path, encoding or "utf-8") as file:
        _line(file)
        columns = _columns(path, file, separator, len(header), places)
    names = list(header)
    return pd.DataFrame({names[place]: columns[n] for n, place in enumerate(places)})


def lines_of(rows: np.ndarray) -> str:
    """Name the lines of some rows [R]: "lines 3, 7 and 12 others"."""
    shown = ", ".join(str(row + 2) for row in rows[:5])
    others = f" and {len(rows) - 5} others" if len(rows) > 5 else ""
    return f"{'line' if len(rows) == 1 else 'lines'} {shown}{others}"


def _columns(
    path: Path, file: TextIO, separator: str, width: int, places: Sequence[int]
) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in places]
    known: dict[str, str] = {}  # equal texts are one object: ids recur in every row
    blank = 0
    for number, line in enumerate(iter(lambda: _line(file), ""), start=2):
        if line == "\n":
            blank = blank or number
            continue
        cells = line.removesuffix("\n").split(separator)
        if blank or len(cells) != width:  # empty lines may only end the file
            place, found = (blank, 0) if blank else (number, len(cells))
            raise InputError(
                f"{path.name}, line {place}", f"must have {width} cells, as the first line has",
                f"{found}", f"Correct the line; cells are separated by {separator!r}.",
            )  # fmt: skip
        if "\0" in line or len(line) > LONGEST_LINE:
            rule = "must have no NUL characters and fewer than a million others"
            raise InputError(
                f"{path.name}, line {number}", rule, f"{line[:20]!r}...",
                "Correct the line; a file in UTF-16 needs encoding: utf-16.",
            )  # fmt: skip
        for column, place in zip(columns, places, strict=True):
            column.append(known.setdefault(cells[place], cells[place]))
    return columns


def _line(file: TextIO) -> str:
    return file.readline(LONGEST_LINE + 1)


@contextmanager
def _text(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a text file; bytes that are invalid in this encoding are an `InputError`."""
    try:
        with open(path, encoding=encoding) as file:
            yield file
    except LookupError as error:
        raise InputError(
            "Configuration key 'encoding'", "must be known to Python", repr(encoding),
            "Write for example utf-8.",
        ) from error  # fmt: skip
    except UnicodeError as error:
        raise InputError(
            path.name, f"must be text in {encoding}", _undecodable(path, encoding),
            "Convert it to UTF-8, or set encoding to its own, such as latin-1 or utf-16.",
        ) from error  # fmt: skip
    except OSError as error:
        raise InputError(path.name, "must be readable", error, "Check its permissions.") from error


def _undecodable(path: Path, encoding: str) -> str:
    """Say which line of a file is not in the encoding."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeError as error:
                return f"line {number}: {error}"
    return "other bytes"


def _refuse_separator(path: Path, line: str, separator: str) -> NoReturn:
    other = next((each for each in ",;\t| " if each != separator and each in line), None)
    raise InputError(
        f"{path.name}, line 1", f"must name columns with their types, separated by {separator!r}",
        repr(line[:80]),
        f"{EXAMPLE}, with {separator!r} between them"
        + (f"; or set field_separator: {other!r}." if other and ":" in line else "."),
    )  # fmt: skip
