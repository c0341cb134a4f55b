"""Matrix products whose number of rows takes few values, as bfloat16 on CPU wants it.

oneDNN compiles a kernel for each new shape of a bfloat16 product, which takes several times as long
as the product itself, and keeps a thousand of them. Packed positions give nearly every batch a
number of rows of its own, so that most products of an epoch would be compiled anew. With zero rows
up to the next multiple of `STEP` there are a dozen shapes, and each is compiled once.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

STEP = 64  # rows; AMX tiles have 16


class Linear(nn.Linear):
    """`torch.nn.Linear`, faster under bfloat16 autocast on CPU and the same elsewhere."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, torch's name
        """Map [..., D] to [..., O]."""
        return by_rows(super().forward, input)


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply to x [..., D] a function that maps each row alone, on a number of rows met before."""
    if not _compiles_shapes(x):  # asked first: a served history is thirty products of one row
        return function(x)
    flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
    return function(filled(flat))[: len(flat)].unflatten(0, x.shape[:-1])


def filled(rows: Tensor) -> Tensor:
    """Add zero rows to [P, D] up to a multiple of `STEP`."""
    missing = -len(rows) % STEP
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows


def _compiles_shapes(x: Tensor) -> bool:
    return (
        torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and not torch.jit.is_tracing()
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
