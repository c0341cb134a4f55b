"""What processes that train together share: sums, rows and decisions.

A process that trains alone is the first of one: what it has is what all have.
"""

from typing import Any

import torch
from torch import Tensor, distributed


def several() -> bool:
    """Tell whether this process belongs to a group that trains together."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number among all of them, on whichever machine; the first is 0."""
    return distributed.get_rank() if several() else 0


def count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if several() else 1


def is_first() -> bool:
    """Tell whether this is the process that writes files and speaks for all."""
    return rank() == 0


def leave() -> None:
    """End this process's part in the group, if any."""
    if several():
        distributed.destroy_process_group()


def agreed(value: Any) -> Any:
    """Return the first process's value in every process, once all have come here."""
    if not several():
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


def gathered(value: Any) -> list[Any]:
    """Return the values of all processes, in their order."""
    held = [value] * count()
    if several():
        distributed.all_gather_object(held, value)
    return held


def all_rows(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the rows of each tensor [R, ...] over all processes; a process may lack some or all."""
    if not several():
        return own
    found = gathered({name: rows.cpu() for name, rows in own.items()})
    names = dict.fromkeys(name for each in found for name in each)
    return {name: torch.cat([each[name] for each in found if name in each]) for name in names}


def summed(own: Tensor) -> Tensor:
    """Return the sum over all processes, without a gradient."""
    total = own.detach().clone()
    if several():
        distributed.all_reduce(total)
    return total


def with_value(own: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the gradient of `own`: what all have, of which this is one part."""
    return value + (own - own.detach())
