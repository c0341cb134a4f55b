"""FullSortRecommender: a model whose scores of all items are all that it computes."""

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn


class FullSortRecommender(SequentialRecommender):
    """Scores single items by picking them out of `full_sort_predict`, which a subclass defines."""

    input_type = InputType.POINTWISE

    def predict(self, interaction: Interaction) -> Tensor:
        """Score the item of each row, [B]."""
        items = interaction[self.ITEM_ID].unsqueeze(1)
        return self.full_sort_predict(interaction).gather(1, items).squeeze(1)


class UntrainedRecommender(FullSortRecommender):
    """Takes no gradient steps; RecBole's trainer, whose optimizer wants one, finds a parameter."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.unused = nn.Parameter(torch.zeros(1))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Return 0: there is nothing to train."""
        del interaction
        return self.unused.sum() * 0.0

    def age(self, interaction: Interaction) -> Tensor:
        """Return how many items of the history are newer than each, [B, L]; below 0 in padding."""
        length = interaction[self.ITEM_SEQ_LEN].unsqueeze(1)
        longest = interaction[self.ITEM_SEQ].shape[1]
        return length - 1 - torch.arange(longest, device=length.device)
