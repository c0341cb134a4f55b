"""What the columns of a table are: which holds what, ids as tokens, times as Unix seconds.

A column is guessed by its name where the user names none, and the guess is told.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.core.files import parse_json
from ur4rec_recbole.data.columns import LONGEST_TOKEN
from ur4rec_recbole.data.times import (
    UNITS,
    WHEN,
    digits_of_dates,
    exact_numbers,
    far_off,
    parse_dates,
    unit_of,
)

# Names without case, spaces and punctuation; the first that a table has is taken.
KNOWN = {
    "user": ("userid", "user", "customerid", "customer", "visitorid", "clientid", "reviewerid",
             "accountid", "memberid", "uid"),
    "item": ("itemid", "item", "sku", "productid", "product", "articleid", "movieid", "asin",
             "parentasin", "isbn", "trackid", "iid"),
    "time": ("timestamp", "time", "datetime", "date", "orderedat", "createdat", "orderdate",
             "eventtime", "purchasedat", "purchasedate", "unixreviewtime", "ts"),
    "rating": ("rating", "stars", "score", "overall"),
    "title": ("title", "name", "productname", "itemname"),
    "categories": ("categories", "category", "genres", "genre"),
    "text": ("description", "text", "summary"),
    "image": ("image", "imagefile", "imagepath", "picture"),
}  # fmt: skip
UNWRITABLE = re.compile("[\t\r\n\0\ud800-\udfff]")
LIST = re.compile(r"\s*(?:(\[.*\])|\{([^{}:]*)\})\s*", re.DOTALL)
NESTED = (Mapping, list, tuple, set, np.ndarray)
NO_IDS = (*NESTED, bytes, bool, np.bool_)


def find_column(
    frame: pd.DataFrame, role: str, given: str | None, table: str, needed: bool = True
) -> tuple[str | None, str]:
    """Return the name of a role's column and how it was found: "given", "guessed" or "none".

    Parameters
    ----------
    frame, table
        The table and what it is called in messages.
    role
        A key of `KNOWN`.
    given
        As the user named it, or None.
    needed
        Whether it is an error that there is none.
    """
    names = list(frame.columns)
    if given is not None:
        if given not in names:
            raise InputError(
                f"--{role}", f"must name a column of the {table}: {names}", repr(given),
                nearest(given, names) or "Name one of them.",
            )  # fmt: skip
        return given, "given"
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in names}
    for known in KNOWN[role]:
        found = [name for name in names if plain[name] == known]
        if found and role == "time" and {"date", "time"} <= set(plain.values()):
            found = [name for name in names if plain[name] in ("date", "time")]  # one of the clock
        if len(found) > 1:
            raise InputError(
                f"the {role} column of the {table}", "must be one", f"{found}",
                f"Name it by --{role}.",
            )  # fmt: skip
        if found:
            return found[0], "guessed"
    if needed:
        raise InputError(
            f"the {role} column of the {table}", "must be known", f"columns {names}",
            f"Name it by --{role}.",
        )  # fmt: skip
    return None, "none"


def token(value: Any) -> str:
    """Write an id as a token; "" where it is missing. 12.0 is 12: a gap made the column floats."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return ""
        return str(int(value)) if float(value).is_integer() else str(value)
    return str(value).strip()


def tokens(column: pd.Series, what: str) -> pd.Series:
    """Write a column of ids as tokens; `InputError` for one that no atomic file can hold."""
    odd = [each for each in column if isinstance(each, NO_IDS)]
    if odd:
        raise InputError(
            f"{what} ids", "must be texts or numbers",
            f"{len(odd)} others, such as {type(odd[0]).__name__} {str(odd[0])[:60]!r}",
            "Name another column, or write one id into each of its cells.",
        )  # fmt: skip
    found = _each(column, token)
    wrong = [each for each in found.unique() if not _is_writable(each)]
    if wrong:
        raise InputError(
            f"{what} ids",
            f"must have no tabs and line ends, at most {LONGEST_TOKEN} characters, and not be "
            "[PAD]",
            f"{len(wrong)} others, such as {wrong[0][:60]!r}", "Rename them.",
        )  # fmt: skip
    return found


def _each(column: pd.Series, write: Callable[[Any], str]) -> pd.Series:
    """Write each cell; of objects, since pandas maps whole numbers with a gap as floats."""
    return column.astype(object).map(write).astype(object)


def _is_writable(text: str) -> bool:
    return not UNWRITABLE.search(text) and len(text) <= LONGEST_TOKEN and text != "[PAD]"


def spaced(column: pd.Series) -> int:
    """Return how many ids have spaces around them, which `tokens` leaves out."""
    return sum(isinstance(each, str) and each != each.strip() for each in column)


def written(column: pd.Series, write: Callable[[Any], str], table: str) -> pd.Series:
    """Write each cell of a column by `words_of` or the like; `InputError` where it cannot be."""
    try:
        return _each(column, write)
    except (TypeError, RecursionError) as error:
        raise InputError(
            f"{table}: {column.name}", "must hold texts, numbers or lists of them", error,
            "Name another column, or write a text into each of its cells.",
        ) from error  # fmt: skip


def read_times(column: pd.Series, table: str, form: str | None = None) -> tuple[np.ndarray, str]:
    """Turn times into Unix seconds, [R] float64, NaN where a cell is empty; tell how.

    Parameters
    ----------
    column
        Datetimes, numbers whose size tells their unit, or ISO texts, with a zone or in UTC.
    table
        Its name, for messages.
    form
        Of other texts, as strptime takes it: "%d/%m/%Y".
    """
    if form is not None and not re.search("%[Yyc]", form):  # pandas takes "mixed", and guesses
        raise InputError(
            "--time-format", "must be a form of strptime with the year", repr(form),
            "Write for example %d/%m/%Y.",
        )  # fmt: skip
    cells = _each(column, token)
    empty = (cells == "").to_numpy()
    numbers = exact_numbers(cells.where(~empty))
    numeric = np.isfinite(numbers) | empty
    if form is None and numeric[~empty].any():
        _refuse(cells, ~numeric, table)
        shown = numbers[~empty]
        digits = digits_of_dates(cells[~empty])
        if digits is not None:
            dates = pd.Series(pd.NaT, cells.index, dtype=digits.dtype)
            dates[~empty] = digits
            return _seconds(dates), "dates of digits alone"
        unit_name, apart = unit_of(shown)
        other = np.zeros(len(cells), dtype=bool)
        other[~empty] = apart & (shown != 0)
        _refuse(cells, other, table, f"in {unit_name}, as most are")
        seconds = numbers / UNITS[unit_name]
        _refuse(cells, ~empty & far_off(seconds, unit_name), table, WHEN)
        return seconds, unit_name
    try:
        dates = parse_dates(cells.where(~empty), form or "ISO8601")
    except ValueError as error:
        raise InputError(
            "--time-format", "must be a form of strptime", error, "Write for example %d/%m/%Y."
        ) from error
    _refuse(cells, dates.isna().to_numpy() & ~empty, table)
    zoned = cells[~empty].str.contains(r"(?:[zZ]|[+-]\d\d:?\d\d|UTC)$").all()
    return _seconds(dates), "dates with a zone" if zoned else "dates, taken as UTC"


def _seconds(dates: pd.Series) -> np.ndarray:
    """Turn dates into seconds, [R]; whole ones apart, since nanoseconds overtax a float."""
    since, second = dates - pd.Timestamp(0, tz="UTC"), pd.Timedelta(seconds=1)
    whole = since.dt.floor("s")
    return (whole / second + (since - whole) / second).to_numpy(np.float64)


def _refuse(cells: pd.Series, wrong: np.ndarray, table: str, rule: str = "a time") -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        raise InputError(
            f"{table}: {cells.name}, row {places[0] + 1}"
            + (f" and {len(places) - 1} others" if len(places) > 1 else ""),
            f"must be {rule}", repr(cells.iloc[places[0]][:40]),
            "Write Unix seconds or ISO dates such as 2024-01-05T10:00:00Z, tell the form by "
            "--time-format, or remove these rows.",
        )  # fmt: skip


def names_of(value: Any) -> list[str]:
    """Return the names in a cell of categories: a list, or a text separated by | ; > or commas.

    A text may be a list as Python, JSON or PostgreSQL write it. Raises `TypeError` as `words_of`.
    """
    if isinstance(value, str) and (found := LIST.fullmatch(value)):
        value = _listed(value) if found[1] else found[2]
    if isinstance(value, list | tuple | np.ndarray):
        return [each for part in value for each in names_of(part)]
    parts: Sequence[str] = re.split(r"[|;>,]", words_of(value))
    return [name for name in map(words_of, parts) if name]


def _listed(text: str) -> Any:
    """Read a list as JSON or Python write it; the text itself where it is none."""
    for read in (partial(parse_json, halves=True), ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError):
            return read(text.strip())
    return text


def words_of(value: Any) -> str:
    """Return a cell as one line of text; a list's parts are joined.

    What UTF-8 has no bytes for becomes "?". Raises `TypeError` for other values, `RecursionError`
    for lists that are nested too deeply.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(filter(None, map(words_of, value)))
    if isinstance(value, Mapping | set | bytes):
        raise TypeError(f"{type(value).__name__} {str(value)[:60]!r}")
    line = " ".join(token(value).replace("\0", " ").split())
    return line.encode("utf-8", "replace").decode()
