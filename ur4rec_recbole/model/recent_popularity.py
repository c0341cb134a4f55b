"""RecentPopularity: what others chose of late; nothing is trained, and no history is read.

Where demand moves it is a rival that a sequential model has to beat.
"""

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from ur4rec_recbole.data.dataset import SECONDS, training_interactions
from ur4rec_recbole.data.moments import in_seconds_above_zero
from ur4rec_recbole.model.full_sort import UntrainedRecommender
from ur4rec_recbole.model.lists import moments
from ur4rec_recbole.model.trend import RecentCounts

TIES = 1e-6  # of a recent interaction: all-time popularity decides between equals


class RecentPopularity(UntrainedRecommender):
    """s_uj = c_j(t), see `RecentCounts`; t is the time of the newest item, or of the request.

    Parameters
    ----------
    config
        `popularity_half_life`; `request_time`: whether t is the time of the request.
    dataset
        The training part of a `UR4RecDataset`.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        key = "popularity_half_life"
        self.half_life = in_seconds_above_zero(config[key], key)
        self.config = config
        self.times = f"{SECONDS}{config['LIST_SUFFIX']}"
        rows = training_interactions(dataset)
        times, items = rows[SECONDS].numpy(), rows[self.ITEM_ID]
        self.counts = RecentCounts(times, items.numpy(), self.n_items)
        self.ever = TIES * items.bincount(minlength=self.n_items) / len(items)  # [N]

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items for each row, [B, N]."""
        asked = moments(self, interaction)
        counts = self.counts.at(asked.cpu().numpy(), self.half_life)
        return (torch.from_numpy(counts) + self.ever).to(asked.device)
