"""ContentKNN: items whose content resembles the newest ones; nothing is trained.

It tells how much of a model's quality a nearest-neighbour search over texts would have had, and is
a member of the naive sum (popularity, transitions, content) that a benchmark has to beat.
"""

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.modalities import table_path
from ur4rec_recbole.model.full_sort import UntrainedRecommender

TABLE = "item_text_table"


class ContentKNN(UntrainedRecommender):
    """s_uj = sum_k decay^k cos(v_ik, v_j) over the K newest items i_0, i_1, ... of the history.

    Items of the window are never recommended; an item without a vector resembles nothing.

    Parameters
    ----------
    config
        `item_text_table`, `n_newest`: K, `recency_decay`.
    dataset
        The training part of a data set; only its item tokens are read.
    """

    vectors: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        path = table_path(config, TABLE)
        if path is None:
            raise InputError(
                f"Configuration key {TABLE!r}", "must name a table", "nothing",
                "Make one with `ur4rec extract text`.",
            )  # fmt: skip
        found, _ = FeatureTable.load(path).align(dataset.field2id_token[self.ITEM_ID], True)
        self.n_newest, self.decay = config["n_newest"], config["recency_decay"]
        unit = functional.normalize(torch.from_numpy(found), dim=-1)  # [N, W]
        self.register_buffer("vectors", unit, persistent=False)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items for each row, [B, N]; -inf for those of the window."""
        seq, age = interaction[self.ITEM_SEQ], self.age(interaction)
        used = (seq > 0) & (age >= 0) & (age < self.n_newest)
        weight = torch.where(used, self.decay ** age.clamp(min=0).float(), 0.0)
        profile = torch.einsum("bl,blw->bw", weight, self.vectors[seq])
        return (profile @ self.vectors.T).scatter(1, seq, -torch.inf)
