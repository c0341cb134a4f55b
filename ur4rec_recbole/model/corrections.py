"""Correction: what changes the scores after training by a few numbers that validation chooses."""

import copy
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

DEPTH = 10  # places of a list that count
SMALLEST = 1e-12  # what a probability is divided or logged with is no smaller


class Correction(nn.Module):
    """A part of the score that no gradient trains; it changes nothing until `fit` or told numbers.

    Attributes
    ----------
    name
        The model's attribute that holds it.
    key
        Configuration key that tells its numbers outright.
    numbers
        Buffers that hold them, in the order of that key; of several the last is what it weighs.
    of_items
        Buffers with a row for each item, [N, ...].
    told_as
        What it is, for a manifest.
    has_price
        Whether it takes from the validation metric what it is worth to who asked for it; `fit` then
        keeps to the price.
    """

    name: ClassVar[str]
    key: ClassVar[str]
    numbers: ClassVar[tuple[str, ...]]
    of_items: tuple[str, ...] = ()
    told_as: ClassVar[str]
    has_price: ClassVar[bool] = False

    @property
    def is_active(self) -> bool:
        """Whether it changes anything."""
        return bool(self.get_buffer(self.numbers[-1]))

    def reads(self, model: SequentialRecommender, interaction: Interaction) -> tuple[Any, ...]:
        """Return what it reads of a batch, beside the scores."""
        raise NotImplementedError

    def forward(self, scores: Tensor, *read: Any) -> Tensor:
        """Return the scores [B, N] corrected; for one that is active.

        Parameters
        ----------
        scores
            [B, N]; -inf where an item is no candidate.
        read
            What `reads` returns.
        """
        raise NotImplementedError

    def evidence(self, scores: Tensor, *read_and_targets: Any) -> Tensor:
        """Return what `fit` needs of each row, [B, C]; the last argument is the targets [B]."""
        raise NotImplementedError

    def fit(self, evidence: Tensor) -> None:
        """Choose the numbers by the evidence [R, C] of validation rows."""
        raise NotImplementedError

    def choose(self, *values: float) -> None:
        """Take the numbers, in their order; 0 for the last changes nothing."""
        for name, value in zip(self.numbers, values, strict=True):
            self.get_buffer(name).fill_(value)

    def forget(self) -> None:
        """Change nothing again."""
        for name in self.numbers:
            self.get_buffer(name).zero_()

    def told(self) -> str:
        """Say what was chosen."""
        raise NotImplementedError

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name, own in self.state_dict().items():  # weights that are older know nothing of it
            state_dict.setdefault(prefix + name, own)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def tables(self) -> dict[str, Tensor]:
        """Return the buffers with a row for each item, by their names among the model's weights."""
        return {f"{self.name}.{each}": self.get_buffer(each) for each in self.of_items}

    def grown(self, count: int) -> "Correction":
        """Return this correction for `count` more items, which nobody has had yet."""
        more = copy.copy(self)
        more._buffers = dict(self._buffers)
        for name in self.of_items:
            own = self.get_buffer(name)
            more._buffers[name] = torch.cat([own, own.new_zeros(count, *own.shape[1:])])
        return more


def logarithms(mixed: Tensor, scores: Tensor, share: Tensor) -> Tensor:
    """Return log p [B, N] of a mixture p in which softmax(scores) has a share [B, 1].

    What is too small for p is told by that part alone, so that items far behind keep their order.
    """
    least = scores.log_softmax(-1) + share.clamp(min=SMALLEST).log()
    return torch.maximum(mixed.log(), least)
