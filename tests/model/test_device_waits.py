"""How often a training step would make the processor wait for a graphics card.

Counted on the CPU, by the operations whose result decides what comes next: the numbers are those of
docs/scaling.md.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2")
INDEXES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Waits(TorchDispatchMode):
    """Counts reads of values, and indexing by masks, whose sizes must be known."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = (
            [each for each in args[1] if each is not None and each.dtype is torch.bool]
            if (name in INDEXES)
            else []
        )
        if name in READS or masks:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def waits(made: Any, stage: str) -> Counter[str]:
    trainer = made.new_trainer()
    index = [each.name for each in trainer.stages].index(stage)
    trainer._begin(trainer.stages[index])
    model = made.model.train()
    batch = next(iter(made.loaders[0]))
    with Waits() as seen:
        sum(model.calculate_loss(batch)).backward()
    return seen.counts


@pytest.mark.parametrize("stage", ["pretrain_sasrec", "pretrain_retriever", "end_to_end"])
def test_count(full_toy: Any, stage: str) -> None:
    for settings in ({}, {"n_layers": 2}, {"n_sub_experts": 2}, {"router_top_k": 2}):
        print(stage, settings, waits(full_toy(**settings), stage))
