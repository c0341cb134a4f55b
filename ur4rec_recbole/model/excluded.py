"""Excluded: the items that are no negatives at a position of a batch."""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class History(NamedTuple):
    """What the users of a batch have had, and when.

    Attributes
    ----------
    windows
        [B, L] items in order, zero-padded on the right.
    earlier
        [B, E] items before the windows, zero-padded, or None.
    row, place
        [P] window and place in it of each position, ascending; one knows its items up to there.
    """

    windows: Tensor
    earlier: Tensor | None
    row: Tensor
    place: Tensor


class Excluded:
    """Marks items that are no negatives: never in training, or had by the user.

    Nothing larger than what is asked for is made: of a million items a loss draws a few hundred.

    Parameters
    ----------
    warm
        [N] bool, the items that training has had: what is never a target is no negative, and
        padding, item 0, is none of them.
    history
        What the users have had, or None where items may repeat.
    """

    def __init__(self, warm: Tensor, history: History | None = None) -> None:
        self.warm, self.history = warm, history

    @cached_property
    def all(self) -> Tensor:
        """All items at all positions, [P, N] or [1, N]; computed once, whatever asks for them."""
        return self._marked(slice(None))

    def at(self, positions: slice) -> Tensor:
        """Mark all items at some positions, [p, N], or [1, N] where all positions agree."""
        return self.all if positions == slice(None) else self._marked(positions)

    def _marked(self, positions: slice) -> Tensor:
        cold = ~self.warm.unsqueeze(0)
        if self.history is None:
            return cold
        return cold | known(self.history, len(self.warm), positions)

    def refuse(self, scores: Tensor, positions: slice) -> None:
        """Set all items that are excluded at some positions to -inf in their scores [p, N].

        In place, and without marking [p, N]: what is excluded all along a window is added, and the
        window's own items are few.
        """
        never = torch.zeros_like(scores[:1]).masked_fill_(~self.warm, -torch.inf)
        if self.history is None:
            scores += never
            return
        windows, earlier, rows, places = self.history
        distinct, counts = rows[positions].unique_consecutive(return_counts=True)
        refused = never.repeat(len(distinct), 1)
        if earlier is not None:
            refused.scatter_(1, earlier[distinct], -torch.inf)
        for part, of_window in zip(scores.split(counts.tolist()), refused, strict=True):
            part += of_window
        own = windows.index_select(0, rows[positions])  # [p, L]
        shown = torch.arange(own.shape[1], device=own.device) <= places[positions].unsqueeze(1)
        scores.scatter_(1, own * shown, -torch.inf)  # item 0, padding, is never a candidate

    def of(self, items: Tensor) -> Tensor:
        """Mark some items [K] at all positions, [P, K] or [1, K]."""
        cold = ~self.warm[items].unsqueeze(0)
        if self.history is None:
            return cold
        distinct, column = items.unique(return_inverse=True)
        # Items are renumbered by their column among the distinct ones; all others share the last.
        renumbered = torch.full_like(self.warm, len(distinct), dtype=torch.long)
        renumbered[distinct] = torch.arange(len(distinct), device=items.device)
        windows, earlier = self.history.windows, self.history.earlier
        history = self.history._replace(
            windows=renumbered[windows],
            earlier=None if earlier is None else renumbered[earlier],
        )
        return cold | known(history, len(distinct) + 1)[:, column]


def known(history: History, n_items: int, positions: slice = slice(None)) -> Tensor:
    """Mark the items [p, N] that the user has had up to each of some positions."""
    rows, row = history.row[positions].unique(return_inverse=True)
    windows = history.windows[rows]
    length = windows.shape[1]
    place = torch.arange(length, dtype=torch.int16, device=windows.device).expand_as(windows)
    first = place.new_full((len(rows), n_items), length)
    first = first.scatter_reduce(1, windows, place, "amin")  # [B, N] where an item first occurs
    if history.earlier is not None:
        first.scatter_(1, history.earlier[rows], -1)
    asked = history.place[positions].to(first.dtype)  # in no wider type: [P, N] is large
    return first[row] <= asked.unsqueeze(1)
