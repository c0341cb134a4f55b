"""Rows: an Interaction whose rows are taken without a detour through Python's lists.

RecBole turns whatever chooses rows into a list and every field reads that list anew: of twenty
million interactions, minutes of a split that takes seconds.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction


class Rows(Interaction):
    """RecBole's Interaction in all else."""

    def __getitem__(self, index: Any) -> Any:
        """Return a field by its name, or the rows at `index`."""
        if isinstance(index, str):
            return self.interaction[index]
        if isinstance(index, list | np.ndarray):
            index = torch.as_tensor(index, dtype=None if len(index) else torch.long)
        return Rows({name: values[index] for name, values in self.interaction.items()})

    def to(self, device: torch.device | str, selected_field: Any = None) -> Interaction:
        """Move the fields; to a card from pinned memory, so that the processor need not wait."""
        if selected_field is not None or torch.device(device).type != "cuda":
            return super().to(device, selected_field)
        fields = self.interaction.items()
        return Rows({name: v.pin_memory().to(device, non_blocking=True) for name, v in fields})


def grouped(keys: Iterable[Any]) -> list[np.ndarray]:
    """Return the rows [r] of each distinct key, keys in the order in which they first occur."""
    codes = np.unique(np.asarray(keys), return_inverse=True)[1]
    if not len(codes):
        return []
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return sorted(groups, key=lambda rows: rows[0])


def hold_out_last(groups: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Split groups of rows: the last `count` of each go to a part of their own, the others first.

    A group keeps one row at least; the parts that it is too short for are the first of those.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(count + 1)]
    for rows in groups:
        held = min(count, len(rows) - 1)
        cut = len(rows) - held
        parts[0].append(rows[:cut])
        for place in range(held):
            parts[place - held].append(rows[cut + place : cut + place + 1])
    none = np.zeros(0, dtype=np.int64)
    return [np.concatenate([none, *rows]) for rows in parts]


def spans(starts: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Write out range(start, start + length) for each of R pairs.

    Returns
    -------
    row
        [sum of lengths] which pair, ascending.
    place
        [sum of lengths] the numbers of the ranges.
    """
    row = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), lengths)
    offset = torch.arange(len(row), device=starts.device) - (lengths.cumsum(0) - lengths)[row]
    return row, starts[row] + offset


def sorted_spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Write out the same ranges, ascending."""
    return np.sort(spans(torch.from_numpy(starts), torch.from_numpy(lengths))[1].numpy())
