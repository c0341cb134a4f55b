"""Where packed states stand: states are kept for the real positions alone."""

import torch
from torch import Tensor


class Positions:
    """The places in [B, L] of P packed states, in order; made once for a batch and passed down.

    Looking them up in a mask, each time anew, costs a search, and on a graphics card a wait.

    Parameters
    ----------
    mask
        [B, L] bool with P True places.
    flat
        [P] their indices in B * L, looked up unless given.
    """

    def __init__(self, mask: Tensor, flat: Tensor | None = None) -> None:
        self.mask = mask
        self.flat = mask.flatten().nonzero().squeeze(1) if flat is None else flat

    @property
    def row(self) -> Tensor:
        """Return which sequence each state belongs to, [P]."""
        return self.flat // self.mask.shape[1]

    @property
    def place(self) -> Tensor:
        """Return the place of each state in its sequence, [P]."""
        return self.flat % self.mask.shape[1]

    def pack(self, padded: Tensor) -> Tensor:
        """Take the rows [P, ...] out of [B, L, ...]."""
        rows = padded.flatten(0, 1)
        return rows if self._is_full() else rows.index_select(0, self.flat)

    def unpack(self, packed: Tensor) -> Tensor:
        """Put rows [P, ...] into zeros [B, L, ...]."""
        if not self._is_full():
            rows = packed.new_zeros(self.mask.numel(), *packed.shape[1:])
            packed = rows.index_put((self.flat,), packed)
        return packed.unflatten(0, self.mask.shape)

    def some(self, chosen: Tensor) -> "Positions":
        """Return the places of some of the states, by their indices [Q] in ascending order."""
        flat = self.flat[chosen]
        mask = torch.zeros_like(self.mask).flatten()
        mask = mask.index_put((flat,), torch.ones_like(flat, dtype=torch.bool))
        return Positions(mask.view_as(self.mask), flat)

    def _is_full(self) -> bool:
        """Tell whether nothing is padded, so that no row is moved; a trace cannot rely on it."""
        return not torch.jit.is_tracing() and len(self.flat) == self.mask.numel()
