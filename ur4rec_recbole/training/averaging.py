"""WeightAverage: an exponential average of the weights, which validation and predictions use.

With much dropout the weights wander from step to step around what they have learned; their average
does not (Polyak and Juditsky 1992; Izmailov et al. 2018). UR4RecTrainer updates it after each step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages the parameters of a model over the steps of a stage.

    Parameters
    ----------
    model
        Whose parameters are averaged.
    decay
        Share of the old average that a step leaves, below 1. The first steps leave less: the
        weights that a stage begins with are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.own: list[Tensor] = [each for each in model.parameters() if each.requires_grad]
        self.decay = decay
        self.begin()

    def begin(self) -> None:
        """Begin with the weights as they are."""
        self.average: list[Tensor] = [each.detach().clone() for each in self.own]
        self.steps = 0

    @torch.no_grad()
    def update(self, *_: Any) -> None:
        """Take the weights after a step into the average; an optimizer's hook."""
        self.steps += 1
        kept = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, self.own, 1 - kept)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the model its averaged weights inside a `with` block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"steps": self.steps, "average": self.average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.steps = state["steps"]
        self.average = [
            each.to(own.device) for each, own in zip(state["average"], self.own, strict=True)
        ]

    def swap(self) -> None:
        """Exchange the model's weights and their average."""
        for place, own in enumerate(self.own):
            own.data, self.average[place] = self.average[place], own.data
