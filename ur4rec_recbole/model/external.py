"""External: a model of another library, known here by its scores alone."""

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import HISTORY_END
from ur4rec_recbole.model.full_sort import UntrainedRecommender


class External(UntrainedRecommender):
    """Looks scores up that an adapter has written for the rows of validation and test.

    The scores are of these rows alone, so that such a model can be measured and not be served.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.ends = np.empty(0, dtype=np.int64)  # of each known row's history, ascending
        self.scores: list[np.ndarray] = []  # [N] each

    def know(self, ends: np.ndarray, scores: np.ndarray) -> None:
        """Take the scores [R, N] of the rows whose histories end at `ends` [R]."""
        both = np.r_[self.ends, ends]
        order = np.argsort(both)
        held = [*self.scores, *scores]
        self.ends, self.scores = both[order], [held[row] for row in order]

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Refuse: the adapter trains."""
        raise NotImplementedError("A model of another library is trained by its adapter.")

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of each row, [B, N]."""
        wanted = interaction[HISTORY_END].cpu().numpy() if HISTORY_END in interaction else None
        if wanted is None or not np.isin(wanted, self.ends).all():
            raise InputError(
                "model External", "knows the rows of the run that trained it alone", "others",
                "Use its library to recommend with it.",
            )  # fmt: skip
        rows = [self.scores[place] for place in np.searchsorted(self.ends, wanted)]
        return torch.from_numpy(np.stack(rows)).to(interaction[HISTORY_END].device)
