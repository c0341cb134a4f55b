"""Reads the time column as float64 Unix seconds, or refuses it.

RecBole numbers the values of a `token` column in the order in which they occur, fills missing
numbers with the mean, and knows no dates: each of these changes the order of the data.
"""

from logging import getLogger

import numpy as np
import pandas as pd

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.atomic_files import lines_of

# Numbers from each of these on are in the next unit: 1e11 seconds are the year 5138.
LIMITS = (1e11, 1e14, 1e17)
UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
# Dates of digits alone by how many these are: 20240105, 2024010510, 202401051030, 20240105103000.
DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
FIRST_YEAR, LAST_YEAR = 1900, 2100
# Who counts less than seconds has a computer; earlier or later "times" count from another year than
# 1970, as Windows from 1601 and .NET from 1, or are no times.
WHEN = "a time from 1995 to 2100, where it is not in seconds"
EARLIEST, LATEST = 788918400, 4133980800


def read_times(cells: pd.Series, file: str, kind: str = "float") -> np.ndarray:
    """Turn the cells of a time column into seconds, [R] float64.

    Parameters
    ----------
    cells
        [R] texts: numbers, whose size tells their unit, or ISO dates, with a zone or in UTC.
    file
        Its name, for messages.
    kind
        The column's type. "float" has numbers alone; "token" may have dates.
    """
    numbers = pd.Series(exact_numbers(cells))
    if kind == "float" or 2 * numbers.notna().sum() >= (cells != "").sum():
        _refuse_unreadable(cells, np.isfinite(numbers.to_numpy()), file)
        dates = digits_of_dates(cells)
        if dates is not None:
            return _seconds(dates, cells, file)
        return _scaled(numbers.to_numpy(), cells, file)
    dates = parse_dates(cells)
    _refuse_unreadable(cells, dates.notna().to_numpy(), file)
    return _seconds(dates, cells, file)


def read_time_lists(cells: pd.Series, file: str) -> list[np.ndarray]:
    """Turn lists of times, numbers whose size tells their unit, into lists of seconds.

    Parameters
    ----------
    cells
        [R] arrays of numbers.
    file
        Its name, for messages.
    """
    lengths = cells.map(len).to_numpy()
    numbers = np.concatenate([np.zeros(0), *cells])
    name, apart = unit_of(numbers) if len(numbers) else ("seconds", np.zeros(0, dtype=bool))
    days = digits_of_dates(pd.Series([f"{each:.15g}" for each in numbers[:100]])) is not None
    wrong = ~np.isfinite(numbers) | apart | days | far_off(numbers / UNITS[name], name)
    if wrong.any():
        rows = np.unique(np.repeat(np.arange(len(cells)), lengths)[wrong])
        raise InputError(
            f"{file}: {cells.name}, {lines_of(rows)}", "must hold times in one unit throughout",
            f"{numbers[wrong][0]:.10g} where most are {name}", "Write seconds since 1970.",
        )  # fmt: skip
    return np.split(numbers / UNITS[name], np.cumsum(lengths)[:-1])


def exact_numbers(cells: pd.Series) -> np.ndarray:
    """Read cells [R] as float64, NaN where one is no number; each text is read once.

    pandas decides what a number is; its own value may be the neighbour of the nearest float.
    """
    codes, distinct = pd.factorize(cells)
    texts = np.asarray(distinct, dtype=object)
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64, copy=True)
    numbers[["\0" in text for text in texts]] = np.nan  # which pandas takes for the text's end
    finite = np.isfinite(numbers)
    numbers[finite] = texts[finite].astype(np.float64)
    return np.append(numbers, np.nan)[codes]  # a missing cell has the code -1


def parse_dates(cells: pd.Series, form: str = "ISO8601") -> pd.Series:
    """Parse texts [R] as dates, UTC unless they have a zone; NaT where one is none.

    `form` is strptime's. "now" and "today", which pandas takes for the present time, are no dates.
    """
    told = cells.where(~cells.isin(("now", "today")))
    return pd.to_datetime(told, format=form, errors="coerce", utc=True)


def digits_of_dates(cells: pd.Series) -> pd.Series | None:
    """Read texts [R] such as 20240105 as dates; None where not all of them are of one such form.

    A column of real numbers may write them as 20240105.0.
    """
    digits = len(str(cells.iloc[0]).removesuffix(".0")) if len(cells) else 0
    for part in (cells[:100], cells):  # most columns are told by their first cells
        texts = part.astype(str).str.removesuffix(".0")
        if digits not in DIGITS or not texts.str.fullmatch(rf"\d{{{digits}}}").all():
            return None
        dates = parse_dates(texts, DIGITS[digits])
        if not dates.dt.year.between(FIRST_YEAR, LAST_YEAR).all():
            return None
    return dates


def far_off(seconds: np.ndarray, unit: str) -> np.ndarray:
    """Mark which times [R], read in a unit that their size told, are no times of that unit."""
    if unit == "seconds":
        return np.zeros(len(seconds), dtype=bool)
    return (seconds != 0) & ((seconds < EARLIEST) | (seconds > LATEST))


def are_positions(users: np.ndarray, times: np.ndarray) -> bool:
    """Tell whether times [R] only count each user's interactions, and say nothing of when.

    Rows are sorted by user and time. A counter goes up by one from each row of a user to the next;
    of real times, two in a row are seldom a second apart.
    """
    steps = np.diff(times)[users[1:] == users[:-1]]
    return bool(len(steps)) and bool((steps == 1).all())


def _refuse_unreadable(cells: pd.Series, sound: np.ndarray, file: str) -> None:
    wrong = np.flatnonzero(~sound)
    if len(wrong):
        raise InputError(
            f"{file}: {cells.name}, {lines_of(wrong)}", "must hold a time in every row",
            f"{cells.iloc[wrong[0]][:40]!r}",
            f"Write seconds since 1970, or declare {cells.name}:token and write dates such as "
            "2024-01-05T10:00:00Z; remove rows whose time is not known.",
        )  # fmt: skip


def unit_of(numbers: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the unit that the size of most numbers [R] tells, and which [R] are in another."""
    unit = np.digitize(np.abs(numbers), LIMITS)
    usual = int(np.median(unit))
    return list(UNITS)[usual], unit != usual


def _scaled(numbers: np.ndarray, cells: pd.Series, file: str) -> np.ndarray:
    """Convert numbers [R] to seconds; their size tells their unit."""
    name, apart = unit_of(numbers)
    seconds = numbers / UNITS[name]
    for wrong, rule, most in (
        (apart, "must be in one unit throughout", f" where most are {name}"),
        (far_off(seconds, name), f"must be {WHEN}", ""),
    ):
        others = np.flatnonzero(wrong)
        if len(others):
            raise InputError(
                f"{file}: {cells.name}, {lines_of(others)}", rule,
                f"{cells.iloc[others[0]]}{most}", "Write all of them in seconds since 1970.",
            )  # fmt: skip
    return _told(seconds, cells, file, name)


def _seconds(dates: pd.Series, cells: pd.Series, file: str) -> np.ndarray:
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return _told(seconds.to_numpy(np.float64), cells, file, "dates")


def _told(seconds: np.ndarray, cells: pd.Series, file: str, form: str) -> np.ndarray:
    getLogger().info(f"{file}: {cells.name} is read as {form}.")
    return seconds
