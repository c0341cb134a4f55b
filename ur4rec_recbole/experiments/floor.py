"""The floor of a training step: the time that its arithmetic and its memory traffic take at best.

FLOP of the matrix products over the rate of one large product, plus the bytes that all operators
write over the rate of one large copy, both measured on this machine. What a step takes beyond that
goes into small operators, caches that are too small and Python.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

SIDE = 2048  # of the product's square matrices
COPIED = 64 * 2**20  # bytes
REPEATS = 5


class Rates(NamedTuple):
    """What a machine reaches: FLOP a second by type of number, bytes copied a second."""

    flops: dict[torch.dtype, float]
    bytes: float


class Work(NamedTuple):
    """What a step does: FLOP of its matrix products, bytes that its operators write."""

    flops: float
    bytes: float

    def seconds(self, rates: Rates, kind: torch.dtype) -> float:
        """Return the floor, with products in numbers of `kind`."""
        return self.flops / rates.flops[kind] + self.bytes / rates.bytes


def measured_rates() -> Rates:
    """Time a large product in float32 and in bfloat16, and a large copy."""
    flops = {}
    for kind in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(SIDE, SIDE, dtype=kind) for _ in range(2))
        flops[kind] = 2 * SIDE**3 / _best(lambda a=left, b=right: a @ b)  # type: ignore[misc]
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return Rates(flops, COPIED / _best(lambda: target.copy_(source)))


def _best(work: Callable[[], Any]) -> float:
    spent = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


class _Written(TorchDispatchMode):
    """Adds up the bytes that operators write: results that are no views, and what is changed."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = _tensors((args, kwargs))
        if func._schema.is_mutable:
            changed = [
                value
                for value, argument in zip(args, func._schema.arguments, strict=False)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
            self.bytes += _size(_tensors(changed))
        else:
            old = {each.untyped_storage().data_ptr() for each in given}
            new = [e for e in _tensors(made) if e.untyped_storage().data_ptr() not in old]
            self.bytes += _size(new)
        return made


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def work_of(step: Callable[[], Any]) -> Work:
    """Count what one step does."""
    counter, written = FlopCounterMode(display=False), _Written()
    with counter, written:
        step()
    return Work(float(counter.get_total_flops()), float(written.bytes))
