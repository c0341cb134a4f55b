"""TimeGapEmbedding: what the encoder reads of the times of past interactions.

Whether an item came a second or a month after the one before it tells a session from a return. The
times belong to the history; nothing of the target is read.
"""

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from ur4rec_recbole.data.dataset import training_interactions

N_BINS = 64


class TimeGapEmbedding(nn.Module):
    """A learned vector for the time since the user's previous interaction in the window.

    Gaps fall into bins around the quantiles of those in training, so that no unit of time has to be
    known; bin 0 is for the first item of a window, whose gap is not known. The idea is TiSASRec's
    (Li et al. 2020, section 3), where the gaps enter the attention instead.

    Parameters
    ----------
    config
        `hidden_size` and RecBole's field names.
    dataset
        The training part, whose gaps the bins are made from.
    """

    edges: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__()
        self.times = f"{config['TIME_FIELD']}{config['LIST_SUFFIX']}"
        rows = training_interactions(dataset)
        users, times = (rows[config[key]].numpy() for key in ("USER_ID_FIELD", "TIME_FIELD"))
        levels = quantiles(np.diff(times)[users[1:] == users[:-1]], N_BINS)
        edges = torch.from_numpy((levels[1:] + levels[:-1]) / 2)
        self.register_buffer("edges", edges)
        self.bins = nn.Embedding(len(levels) + 1, config["hidden_size"])

    def forward(self, interaction: Interaction, where: Tensor) -> Tensor:
        """Return the vectors [P, D] of the positions at `where` [B, L]."""
        gaps = interaction[self.times].diff(dim=1)  # [B, L - 1]
        place = torch.bucketize(gaps, self.edges) + 1
        return self.bins(nn.functional.pad(place, (1, 0))[where])


def quantiles(values: np.ndarray, count: int) -> np.ndarray:
    """Return the distinct ones of `count` + 1 evenly spaced quantiles, each a value that occurs."""
    return np.unique(np.quantile(values, np.linspace(0, 1, count + 1), method="nearest"))
