"""Data sets that come split: `benchmark_filename: [train, valid, test]`.

Their rows bring their histories: user, item_id_list, item_id. A row whose history is the end of
what is known of its user so far continues that; any other begins a chain of its own. So rows become
pointers into the users' interactions, as those of a data set that is split here, and all that
follows is the same: training takes its loss at all positions, each interaction of the training
file once an epoch, those of its histories included.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from recbole.data.dataset import SequentialDataset

from ur4rec_recbole.core.errors import InputError

READ_TIMES = (
    "time_intervals",
    "request_time",
    "shuffle_gap",
    "recency_time",
    "popularity_half_life",
)


class Chains(NamedTuple):
    """R rows as pointers into I interactions.

    Attributes
    ----------
    interactions
        By user: the user, and all fields that the rows have lists of.
    start, end
        [R] where the row's chain begins, and its target.
    length
        [R] length of the history that the row brings.
    unlisted
        Columns of the files that are no lists.
    """

    interactions: pd.DataFrame
    start: np.ndarray
    end: np.ndarray
    length: np.ndarray
    unlisted: list[str]


class PresplitDataset(SequentialDataset):
    """Sequential data set that refuses split files which it cannot read."""

    def _init_alias(self) -> None:
        if self.benchmark_filename_list is not None:
            check(self)
        super()._init_alias()


def check(dataset: Any) -> None:
    """Raise `InputError` unless the loaded files are what sequential models need."""
    config = dataset.config
    suffix = config["LIST_SUFFIX"]
    listed, timed = f"{dataset.iid_field}{suffix}", f"{dataset.time_field}{suffix}"
    if listed not in dataset.inter_feat:
        raise InputError(
            "benchmark_filename", f"needs the column {listed}:token_seq, each row's history",
            f"columns {list(dataset.inter_feat)}",
            "Add it to the files and to load_col, or let eval_args split the data set.",
        )  # fmt: skip
    if listed not in (config["alias_of_item_id"] or ()):
        raise InputError(
            "benchmark_filename", f"needs {listed} to have the ids of {dataset.iid_field}",
            f"alias_of_item_id: {config['alias_of_item_id']}",
            f"Set alias_of_item_id: [{listed}].",
        )  # fmt: skip
    # A gap of 0 seconds is on.
    asked = {key: config[key] for key in READ_TIMES}
    reading = [key for key, value in asked.items() if value is not None and value is not False]
    if reading and not {dataset.time_field, timed} <= set(dataset.inter_feat):
        raise InputError(
            reading[0], f"needs the columns {dataset.time_field} and {timed}",
            f"columns {list(dataset.inter_feat)}", "Add them to load_col, or leave the key out.",
        )  # fmt: skip


def require_three_files(config: Any) -> None:
    """Raise `InputError` unless there is a file for each part, as `data_preparation` needs."""
    files = config["benchmark_filename"]
    if files is not None and (not isinstance(files, list | tuple) or len(files) != 3):
        raise InputError(
            "benchmark_filename", "must name the training, validation and test file", repr(files),
            "Write for example benchmark_filename: [train, valid, test].",
        )  # fmt: skip


def chains(dataset: Any) -> Chains:
    """Join the rows of a data set's DataFrame to chains, file after file."""
    rows, suffix = dataset.inter_feat, dataset.config["LIST_SUFFIX"]
    fields = [field for field in rows if f"{field}{suffix}" in rows]
    length = rows[f"{dataset.iid_field}{suffix}"].map(len).to_numpy()
    file = np.repeat(np.arange(len(dataset.file_size_list)), dataset.file_size_list)
    shown = {field: _in_a_row(rows[f"{field}{suffix}"], rows[field]) for field in fields}
    for field, values in shown.items():
        if len(values) != length.sum() + len(rows):
            raise InputError(
                f"{field}{suffix}", f"must be as long as {dataset.iid_field}{suffix} in every row",
                f"{len(values) - len(rows)} values, not {length.sum()}", "Correct the files.",
            )  # fmt: skip
    users = rows[dataset.uid_field].to_numpy()
    order = np.lexsort((length, file))  # stable: short histories first
    places, start, end = _join(users, shown[dataset.iid_field], length, order)
    names = sorted(places)
    base = dict(zip(names, np.cumsum([0] + [len(places[name]) for name in names]), strict=False))
    offset = np.array([base[user] for user in users])
    found = np.concatenate([places[name] for name in names])
    owner = np.repeat(names, [len(places[name]) for name in names])
    frame = {field: values[found] for field, values in shown.items()}
    interactions = pd.DataFrame({dataset.uid_field: owner, **frame})
    lists = {f"{field}{suffix}" for field in fields} | {dataset.item_list_length_field}
    unlisted = [field for field in rows if field not in lists]
    return Chains(interactions, start + offset, end + offset, length, unlisted)


def _in_a_row(histories: pd.Series, targets: pd.Series) -> np.ndarray:
    """Write out each row's history and then its target."""
    values = targets.to_numpy()
    lengths = histories.map(len).to_numpy()
    return np.insert(np.concatenate(histories.to_numpy()).astype(values.dtype),
                     np.cumsum(lengths), values)  # fmt: skip


def _join(
    users: np.ndarray, items: np.ndarray, length: np.ndarray, order: np.ndarray
) -> tuple[dict[int, list[int]], np.ndarray, np.ndarray]:
    """Return the places in `items` by user, and start and end [R] among their user's."""
    first = np.cumsum(length + 1) - (length + 1)
    places: dict[int, list[int]] = defaultdict(list)
    begun: dict[int, int] = {}
    start, end = np.empty_like(length), np.empty_like(length)
    for row in order:
        user, history = users[row], range(first[row], first[row] + length[row])
        mine = places[user]
        latest = mine[len(mine) - len(history) :] if len(history) <= len(mine) else []
        if not latest or not np.array_equal(items[latest], items[history.start : history.stop]):
            begun[user] = len(mine)
            mine.extend(history)
        start[row], end[row] = begun[user], len(mine)
        mine.append(history.stop)
    return places, start, end


def tiling(start: np.ndarray, end: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Choose rows, ascending, whose windows tile each chain from its end; [R] each.

    The window of a row holds the targets from `end` back over `length` places.
    """
    chosen = []
    chain, reach = -1, 0
    for row in np.lexsort((-end, start)):
        if start[row] != chain:
            chain, reach = start[row], end[row]
        if length[row] and end[row] <= reach:
            chosen.append(row)
            reach = end[row] - length[row]
    return np.sort(np.array(chosen, dtype=np.int64))
