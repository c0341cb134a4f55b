"""Times become exact Unix seconds, or are refused with their lines."""

import logging

import numpy as np
import pandas as pd
import pytest

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.times import are_positions, read_times

NOON = 1704456000.0  # 2024-01-05T12:00:00Z


def read(*cells: str, kind: str = "token") -> list[float]:
    return read_times(pd.Series(cells, name="timestamp"), "toy.inter", kind).tolist()


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("1704456000", NOON),
        ("1704456001", NOON + 1),  # float32 would make it the same
        ("1.704456e9", NOON),
        ("1704456000.25", NOON + 0.25),
        ("900719925.9453125", 900719925.9453125),  # to the last bit
        ("1704456000123", NOON + 0.123),
        ("1704456000123456", NOON + 0.123456),
        ("1704456000000000000", NOON),
        ("0", 0.0),
        ("17", 17.0),
        ("-3", -3.0),
        ("2024-01-05", NOON - 43200),
        ("2024-01-05 12:00", NOON),
        ("2024-01-05T12:00:00", NOON),
        ("2024-01-05T12:00:00Z", NOON),
        ("2024-01-05T13:00:00.5+01:00", NOON + 0.5),
        ("20240105", NOON - 43200),
    ],
)
def test_a_time_is_read_in_seconds(cell: str, seconds: float) -> None:
    assert read(cell, cell) == pytest.approx([seconds] * 2, abs=1e-6)


def test_dates_with_and_without_a_zone_may_stand_together() -> None:
    assert read("2024-01-05T12:00:00", "2024-01-05T12:00:01Z", "2024-01-05T14:00:00+02:00") == [
        NOON, NOON + 1, NOON,
    ]  # fmt: skip


def test_what_numbers_are_taken_for_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read("1704456000123")
        read("2024-01-05")
    assert [each.message for each in caplog.records] == [
        "toy.inter: timestamp is read as milliseconds.",
        "toy.inter: timestamp is read as dates.",
    ]


@pytest.mark.parametrize(
    "wrong", ["", "NA", "nan", "inf", "-inf", "1e400", "today", "now", "1_000", "1.5\0"]
)
def test_a_time_that_is_none_is_refused_with_its_line(wrong: str) -> None:
    with pytest.raises(InputError, match=r"toy.inter: timestamp, line 4 must hold a time"):
        read("1704456000", "1704456001", wrong, "1704456002")
    with pytest.raises(InputError, match="line 3"):
        read("2024-01-05", wrong, "2024-01-06")


@pytest.mark.parametrize("wrong", ["05/01/2024", "2024-13-05", "5 Jan", "99999-01-01", "12:30"])
def test_a_date_that_is_not_iso_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=f"'{wrong}'.*2024-01-05T10:00:00Z"):
        read(wrong, wrong)


def test_the_first_lines_are_named_and_the_others_counted() -> None:
    with pytest.raises(InputError, match="lines 3, 4, 5, 6, 7 and 4 others"):
        read("1", *[""] * 9, *map(str, range(20)))


def test_dates_in_a_column_of_numbers_are_refused_with_the_type_that_takes_them() -> None:
    with pytest.raises(InputError, match="timestamp:token"):
        read("2024-01-05", "2024-01-06", kind="float")


def test_two_units_in_one_column_are_refused() -> None:
    with pytest.raises(InputError, match="line 4.*one unit.*1704456000123 where most are seconds"):
        read("1704456000", "1704456001", "1704456000123")


def test_a_counter_within_each_user_is_told_from_times() -> None:
    lengths = (3, 9, 1, 51)
    users = np.repeat(np.arange(4), lengths)
    positions = np.concatenate([np.arange(n, dtype=float) for n in lengths])
    assert are_positions(users, positions)
    assert are_positions(users, positions + 1)
    assert not are_positions(users, positions * 60)
    assert not are_positions(users, NOON + np.arange(len(users)) * 7.0)
    almost = positions.copy()
    almost[2] += 0.5
    assert not are_positions(users, almost)
    assert not are_positions(np.arange(4), positions[:4])  # nobody has two
