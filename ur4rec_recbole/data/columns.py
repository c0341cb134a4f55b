"""Checks that an atomic file has the columns that the configuration names, and converts them."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import FeatureType

from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.data.atomic_files import lines_of
from ur4rec_recbole.data.times import exact_numbers, read_time_lists, read_times

IDS = {"inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"), "user": ("USER_ID_FIELD",),
       "item": ("ITEM_ID_FIELD",)}  # fmt: skip
TYPES = {"TIME_FIELD": ("float", "token"), "USER_ID_FIELD": ("token",), "ITEM_ID_FIELD": ("token",)}
TIMES = "float_seq"  # of a list of times
MISSING = {"", "na", "nan", "n/a", "null", "none"}  # in numbers that are no times
LONGEST_TOKEN = 10_000  # RecBole keeps every token at the width of the longest


def check_columns(dataset: Dataset, file: str, suffix: str, header: Mapping[str, str]) -> None:
    """Raise `InputError` where the header of a file does not fit what the configuration names.

    Parameters
    ----------
    dataset
        The data set that is being loaded; only its configuration is read.
    file, suffix
        Name of the file and its suffix, such as "inter".
    header
        Type by column.
    """
    config = dataset.config
    needed = {key: config[key] for key in IDS.get(suffix, ()) if config[key] is not None}
    if suffix == "inter" and _needs_times(dataset):
        needed["TIME_FIELD"] = config["TIME_FIELD"]
    for key, column in needed.items():
        if column not in header:
            raise InputError(
                f"Configuration key {key!r}", f"must name a column of {file}, {list(header)}",
                repr(column), nearest(column, header) or "Set it to the column that holds it.",
            )  # fmt: skip
    listed = _listed(config, "load_col", suffix)
    for column in listed or ():
        if column not in header:
            _refuse_list("load_col", suffix, f"must name columns of {file}, {list(header)}", column,
                         nearest(column, header) or _example(suffix, needed))  # fmt: skip
    left_out = _listed(config, "unload_col", suffix) or ()
    for key, column in needed.items():
        if (listed is not None and column not in listed) or column in left_out:
            _refuse_list("load_col", suffix, f"must have {column!r} ({key}), which is needed",
                         listed or f"without {left_out}", _example(suffix, needed))  # fmt: skip
    for key in {**needed, "TIME_FIELD": config["TIME_FIELD"]} if suffix == "inter" else needed:
        kind = header.get(config[key])
        if kind is not None and kind not in TYPES[key]:
            raise InputError(
                f"{file}: {config[key]} ({key})", f"must be of type {' or '.join(TYPES[key])}",
                kind, f"Write {config[key]}:{TYPES[key][0]} into its first line.",
            )  # fmt: skip


def set_types(
    dataset: Dataset, frame: pd.DataFrame, header: Mapping[str, str], file: str, suffix: str
) -> None:
    """Convert the columns of a file, which RecBole has loaded as text, to their types.

    Times become float64 seconds. Sequences are split by RecBole already.
    """
    for column in frame:
        kind, cells = header[column], frame[column]
        if suffix == "inter" and column == dataset.time_field:
            frame[column] = read_times(cells, file, kind)
            dataset.field2type[column] = FeatureType.FLOAT  # though the file may call it a token
            dataset.field2bucketnum[column] = 2  # RecBole's start for a float column
        elif suffix == "inter" and column == f"{dataset.time_field}{dataset.config['LIST_SUFFIX']}":
            if kind != TIMES:
                raise InputError(
                    f"{file}: {column}", f"must be of type {TIMES}", kind,
                    f"Write {column}:{TIMES} into its first line, or leave it out of load_col.",
                )  # fmt: skip
            frame[column] = read_time_lists(cells, file)
        elif kind == "float":
            frame[column] = read_numbers(cells, file)
        elif kind == "token":
            frame[column] = _tokens(cells, file, column in (dataset.uid_field, dataset.iid_field))
        elif kind == "token_seq":
            _check_length(max((each.itemsize // 4 for each in cells if each.size), default=0), file)


def _needs_times(dataset: Dataset) -> bool:
    if dataset.config["benchmark_filename"]:  # histories are in the files: see data/presplit.py
        return False
    order = (dataset.config["eval_args"] or {}).get("order")
    return isinstance(dataset, SequentialDataset) or order == "TO"


def _listed(config: Any, key: str, suffix: str) -> list[str] | None:
    """Return the columns that load_col or unload_col lists for a file; None if it lists none."""
    if config[key] is None:
        return None
    nothing: list[str] | None = [] if key == "load_col" else None  # it lists all that is loaded
    listed = config[key].get(suffix, nothing) if isinstance(config[key], Mapping) else config[key]
    if listed == "*" or (listed is None and key == "unload_col"):
        return None
    if not isinstance(listed, list | tuple | set) or not all(type(each) is str for each in listed):
        _refuse_list(key, suffix, "must list columns by their names", repr(listed),
                     _example(suffix, {}))  # fmt: skip
    return list(listed)


def _refuse_list(key: str, suffix: str, rule: str, received: object, remedy: str) -> NoReturn:
    raise InputError(f"Configuration key '{key}', {suffix}", rule, received, remedy)


def _example(suffix: str, needed: Mapping[str, str]) -> str:
    names = ", ".join(needed.values()) or "user_id, item_id, timestamp"
    return f"Write for example load_col: {{{suffix}: [{names}]}}."


def read_numbers(cells: pd.Series, file: str) -> pd.Series:
    """Read texts as finite numbers; an empty one, or a word for that, is missing (NaN)."""
    numbers = pd.Series(exact_numbers(cells), cells.index)
    odd = np.flatnonzero(~np.isfinite(numbers))
    wrong = odd[~cells.iloc[odd].str.lower().isin(MISSING).to_numpy()]
    if len(wrong):
        raise InputError(
            f"{file}: {cells.name}, {lines_of(wrong)}", "must hold finite numbers",
            f"{cells.iloc[wrong[0]][:40]!r}",
            "Correct it, leave the cell empty, or leave the column out.",
        )  # fmt: skip
    return numbers


def _tokens(cells: pd.Series, file: str, are_ids: bool) -> pd.Series:
    """Return tokens unchanged; an empty cell is a missing value, which ids must not have."""
    distinct = cells.unique()
    _check_length(max(map(len, distinct), default=0), file)
    if not {"", "[PAD]"} & set(distinct):
        return cells
    wrong = np.flatnonzero((cells == "") | (cells == "[PAD]"))  # RecBole's name for no id
    if are_ids:
        raise InputError(
            f"{file}: {cells.name}, {lines_of(wrong)}", "must hold an id in every row",
            repr(cells.iloc[wrong[0]]), "Complete or remove the rows.",
        )  # fmt: skip
    return cells.where(cells != "")


def _check_length(longest: int, file: str) -> None:
    if longest > LONGEST_TOKEN:
        raise InputError(
            f"{file}: every token", f"must have at most {LONGEST_TOKEN} characters", longest,
            "Shorten it, or leave its column out of load_col.",
        )  # fmt: skip
