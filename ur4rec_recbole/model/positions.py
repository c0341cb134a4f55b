"""Where packed states stand: states are kept for the real positions alone."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Positions:
    """The places in [B, L] of P packed states, in order; made once for a batch and passed down.

    Looking them up in a mask, each time anew, costs a search, and on a graphics card a wait.

    Parameters
    ----------
    mask
        [B, L] bool with P True places.
    sizes
        How many rows each group has, of `by_length`; all are one group without them.
    """

    def __init__(self, mask: Tensor, sizes: Sequence[int] = ()) -> None:
        self.mask, self.sizes = mask, sizes
        self.shape = mask.shape
        self.flat = mask.flatten().nonzero().squeeze(1)  # [P] their indices in B * L

    @property
    def row(self) -> Tensor:
        """Return which sequence each state belongs to, [P]."""
        return self.flat // self.shape[1]

    @property
    def place(self) -> Tensor:
        """Return the place of each state in its sequence, [P]."""
        return self.flat % self.shape[1]

    @property
    def last(self) -> Tensor:
        """Return which state is the last of each sequence, [B]; none may be empty."""
        return self.mask.sum(1).cumsum(0) - 1

    def pack(self, padded: Tensor) -> Tensor:
        """Take the rows [P, ...] out of [B, L, ...]."""
        rows = padded.flatten(0, 1)
        return rows if self._is_full() else rows.index_select(0, self.flat)

    def unpack(self, packed: Tensor) -> Tensor:
        """Put rows [P, ...] into zeros [B, L, ...]."""
        if not self._is_full():
            rows = packed.new_zeros(self.shape[0] * self.shape[1], *packed.shape[1:])
            packed = rows.index_put((self.flat,), packed)
        return packed.unflatten(0, self.shape)

    @property
    def whole(self) -> "Group":
        """Return all rows as one group."""
        return Group(slice(None), slice(None), self)

    @cached_property
    def groups(self) -> list["Group"]:
        """Return groups of rows that lie one after another, each padded to its own longest."""
        if not self.sizes:
            return [self.whole]
        groups, row, state = [], 0, 0
        for mask in self.mask.split(list(self.sizes)):
            where = Positions(mask[:, : int(mask.sum(1).max())])
            ends = row + len(mask), state + len(where.flat)
            groups.append(Group(slice(row, ends[0]), slice(state, ends[1]), where))
            row, state = ends
        return groups

    def some(self, chosen: Tensor) -> "Positions":
        """Return the places of some of the states, by their indices [Q] in ascending order."""
        return _Some(self.shape, self.flat[chosen])

    def _is_full(self) -> bool:
        """Tell whether nothing is padded, so that no row is moved; a trace cannot rely on it."""
        return not torch.jit.is_tracing() and len(self.flat) == self.shape.numel()


class _Some(Positions):
    """Places given by their indices; the mask is made where it is asked for."""

    def __init__(self, shape: torch.Size, flat: Tensor) -> None:
        self.shape, self.flat, self.sizes = shape, flat, ()

    @cached_property
    def mask(self) -> Tensor:  # type: ignore[override]
        mask = self.flat.new_zeros(self.shape[0] * self.shape[1], dtype=torch.bool)
        return mask.index_fill(0, self.flat, True).view(self.shape)


class Group(NamedTuple):
    """Rows and packed states that lie one after another, and the places of the latter in [b, l]."""

    rows: slice
    states: slice
    where: Positions


def by_length(lengths: Tensor) -> tuple[Tensor, list[int]] | None:
    """Return an order of rows [B], and the sizes of groups in it, lengths below twofold in each.

    Attention costs by the square of the length that a batch is padded to. None where groups would
    not save half of that, and on a graphics card, where one large product takes less time.

    Parameters
    ----------
    lengths
        [B], none of them 0.
    """
    if lengths.device.type != "cpu":
        return None
    halvings = torch.log2(lengths.max() / lengths).long()  # of the longest, to a group's padding
    if (0.25**halvings).mean() > 0.5:
        return None
    sizes = [size for size in halvings.bincount().tolist() if size]
    return halvings.argsort(stable=True), sizes
