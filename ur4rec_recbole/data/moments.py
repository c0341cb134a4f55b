"""Moments: interactions in quick succession, whose order says little.

Half of ML-100K's interactions bear the same second as the one before, because their users rated a
page of movies at once. A model that learns from the one order that the file happens to have learns
that order; one that sees another each epoch learns what a moment's items have in common.
"""

import math
import re
from typing import Any

import torch
from torch import Tensor

from ur4rec_recbole.core.config import is_finite
from ur4rec_recbole.core.errors import InputError

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def starts_of_moments(times: Tensor, gap: float) -> Tensor:
    """Return where the moment of each position starts, [..., L], for ascending seconds [..., L].

    A moment is a run of interactions, each no more than `gap` seconds after the one before.
    """
    # Without diff and cummax, which have no form in ONNX.
    exact = times.double()
    begins = exact[..., 1:] - exact[..., :-1] > gap
    first = torch.zeros_like(exact[..., :1], dtype=torch.bool)
    begins = torch.cat([first, begins], dim=-1)
    moment = begins.long().cumsum(-1)
    sizes = torch.zeros_like(moment).scatter_add(-1, moment, torch.ones_like(moment))
    return (sizes.cumsum(-1) - sizes).gather(-1, moment)


def shuffled_moments(times: Tensor, gap: float) -> Tensor:
    """Draw an order [..., L] of positions that changes places within moments only.

    Any order of a moment's interactions is equally likely. Takes ascending times [..., L].
    """
    drawn = torch.rand(times.shape, device=times.device).argsort(-1)
    moments = starts_of_moments(times, gap).gather(-1, drawn)
    return drawn.gather(-1, moments.argsort(dim=-1, stable=True))


def disturbed_order(real: Tensor, noise: float) -> Tensor:
    """Draw an order [..., L] in which each real place has moved by Gaussian noise, in places.

    Where a file's order within a day says nothing, a model that sees one order alone learns it by
    heart. `real` [..., L] is True for a first part of the places; the others stay behind it.
    """
    place = torch.arange(real.shape[-1], device=real.device) + noise * torch.randn(
        real.shape, device=real.device
    )
    return place.masked_fill(~real, torch.inf).argsort(dim=-1, stable=True)


def first_to_come(order: Tensor) -> Tensor:
    """Return the least of what an order [..., L + 1] has after each place but the last, [..., L].

    A user profile may know what lies before that, and nothing that is still to be predicted.
    """
    return order[..., 1:].flip(-1).cummin(-1).values.flip(-1)


def in_seconds(value: Any, key: str) -> float:
    """Read a duration: a number of seconds, or a text such as "30s", "5m", "2h", "1d"."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(value))
    seconds = float(value) if is_finite(value) else -1.0
    if isinstance(value, str) and found:
        seconds = float(found[1]) * UNITS[found[2]]
    if not 0 <= seconds < math.inf:
        raise InputError(
            f"Configuration key {key!r}", "must be seconds, or a text such as 30s, 5m, 2h, 1d",
            repr(value), "Correct it.",
        )  # fmt: skip
    return seconds


def in_seconds_above_zero(value: Any, key: str) -> float:
    """Read a duration that others are divided by."""
    seconds = in_seconds(value, key)
    if not seconds:
        raise InputError(
            f"Configuration key {key!r}", "must be above 0", repr(value),
            "Write for example 6h, or 4d.",
        )  # fmt: skip
    return seconds
