"""How often a training step would make the processor wait for a graphics card.

Counted on the CPU, by the operations whose result decides what comes next: the numbers are those of
docs/scaling.md.
"""

from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Waits(TorchDispatchMode):
    """Counts reads of values, and indexing by masks, whose sums must be known."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = (
            [str(each.dtype) for each in args[1] if each is not None] if name in INDEXING else []
        )
        self.count += name in READS or "torch.bool" in masks
        return func(*args, **(kwargs or {}))


def waits(made: Any, stage: str) -> int:
    """Count those of a step, with its backward pass."""
    trainer = made.new_trainer()
    trainer._begin(next(each for each in trainer.stages if each.name == stage))
    made.model.train()
    batch = next(iter(made.loaders[0]))
    made.model._grouped = lambda rows: (rows, [])  # as on a card, where nothing is grouped
    with Waits() as seen:
        sum(made.model.calculate_loss(batch)).backward()
    return seen.count


@pytest.mark.parametrize(
    ("stage", "settings", "most"),
    [
        ("pretrain_sasrec", {}, 2),
        ("pretrain_sasrec", {"n_layers": 2}, 2),
        ("pretrain_retriever", {}, 6),
        ("pretrain_retriever", {"router_top_k": 2}, 15),
        ("end_to_end", {}, 7),
    ],
)
def test_a_step_waits_no_more_than_the_page_says(
    full_toy: Any, stage: str, settings: dict[str, Any], most: int
) -> None:
    assert waits(full_toy(**settings), stage) <= most
