"""Ties: interactions of one moment, whose order in the file is nobody's order.

Half of ML-100K's interactions bear the same second as the one before, because their users rated a
page of movies at once. A model that learns from one arbitrary order of them learns that order; one
that sees another order each epoch learns what a moment's items have in common.
"""

import torch
from torch import Tensor


def starts_of_moments(times: Tensor) -> Tensor:
    """Return where the moment of each position starts, [..., L], for ascending times [..., L].

    A moment is a run of equal times.
    """
    position = torch.arange(times.shape[-1], device=times.device).expand_as(times)
    same = torch.zeros_like(times, dtype=torch.bool)
    same[..., 1:] = times[..., 1:] == times[..., :-1]
    return position.masked_fill(same, 0).cummax(-1).values


def shuffled_moments(times: Tensor) -> Tensor:
    """Draw an order [..., L] of positions that changes places within moments only.

    Any order of a moment's items is equally likely. Takes ascending times [..., L].
    """
    drawn = torch.rand(times.shape, device=times.device).argsort(-1)
    moments = starts_of_moments(times).gather(-1, drawn)
    return drawn.gather(-1, moments.argsort(dim=-1, stable=True))
