"""Training-free item-to-item models: s_uj = sum_k decay^k exp(-(t_0 - t_k) / tau) W[i_k, j].

i_k is the k-th newest item of the history (k = 0, 1, ...) and t_k its time.

They learn nothing by gradients and see what encoders smooth over, which makes them good members of
an ensemble. `ur4rec train --model=ItemTransition --dataset=ml-100k` runs one alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn.functional import embedding_bag

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import SECONDS, training_interactions
from ur4rec_recbole.data.moments import in_seconds_above_zero
from ur4rec_recbole.model.corrections import SMALLEST
from ur4rec_recbole.model.full_sort import UntrainedRecommender
from ur4rec_recbole.model.lists import newest

LARGEST = 20_000  # items: 3 GiB a matrix, and several are held while one is solved for
USERS_AT_A_TIME = 4096


def pairs_apart(users: Any, items: Any, window: int) -> Iterator[tuple[int, Any, Any]]:
    """Yield, for 1..window places, the items of a user that stand so far apart: earlier, later.

    Users and items are those of interactions [I], tensors or arrays, sorted by user and time.
    """
    for apart in range(1, window + 1):
        same = users[apart:] == users[:-apart]
        yield apart, items[:-apart][same], items[apart:][same]


class ItemToItem(UntrainedRecommender):
    """Sums the rows of an item-to-item matrix over the history, older items weighing less.

    Parameters
    ----------
    config
        `recency_decay`: weight of an item relative to the next newer one. `recency_time`: tau, in
        seconds or as "3m", or None for no such factor.
    dataset
        The training part of a `UR4RecDataset`.
    """

    matrix: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.decay, tau = config["recency_decay"], config["recency_time"]
        self.tau = None if tau is None else in_seconds_above_zero(tau, "recency_time")
        self.times = f"{SECONDS}{config['LIST_SUFFIX']}"
        if self.n_items > LARGEST:
            raise InputError(
                config["model"], f"holds matrices of N x N, and takes at most {LARGEST:,} items",
                f"{self.n_items:,}: {8 * self.n_items**2 / 2**30:,.0f} GiB for each",
                "Leave it out of the ensemble, or keep items with more interactions: "
                "item_inter_num_interval.",
            )  # fmt: skip
        self.register_buffer("matrix", self.item_matrix(config, dataset).float())

    def item_matrix(self, config: Any, dataset: Any) -> Tensor:
        """Return W [N, N]; row i says what follows item i."""
        raise NotImplementedError

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items for each row, [B, N]."""
        seq = interaction[self.ITEM_SEQ]
        weight = self.decay ** self.age(interaction).clamp(min=0).float()
        if self.tau is not None:
            times = interaction[self.times]
            last = newest(times, interaction[self.ITEM_SEQ_LEN]).unsqueeze(1)
            weight = weight * torch.exp((times - last).clamp(max=0) / self.tau).float()
        return embedding_bag(  # L rows of the matrix for each of the B, not all N of them
            seq, self.matrix, per_sample_weights=weight, mode="sum", padding_idx=0
        )


class ItemTransition(ItemToItem):
    """W[i, j] = T[i, j] / ((T[i, :] + shrinkage) (T[:, j] + 1)^popularity_penalty).

    T[i, j] = sum over gaps g = 1..window of gap_decay^(g - 1) times how often j came g places
    after i in the training sequences: a smoothed Markov chain with skips (He et al. 2017,
    section 3 names the first-order one; the skips follow Shani et al. 2005, section 4.3.1).
    """

    def item_matrix(self, config: Any, dataset: Any) -> Tensor:
        """Count transitions in the training sequences alone."""
        rows = training_interactions(dataset)
        users, items = rows[self.USER_ID], rows[self.ITEM_ID]
        counts = torch.zeros(self.n_items, self.n_items, dtype=torch.float64)
        for gap, *place in pairs_apart(users, items, config["transition_window"]):
            weight = torch.full((len(place[0]),), config["gap_decay"] ** (gap - 1)).double()
            counts.index_put_(place, weight, accumulate=True)
        # A row without transitions stays 0, also without shrinkage.
        leaving = (counts.sum(1, keepdim=True) + config["shrinkage"]).clamp(min=SMALLEST)
        arriving = (counts.sum(0, keepdim=True) + 1) ** config["popularity_penalty"]
        return counts / leaving / arriving


class SequentialEASE(ItemToItem):
    """W = I - P / diag(P), P = (X^T X + reg I)^-1 for the training matrix X [users, N].

    Source: Steck 2019, equation 8; there all of a user's items weigh the same.
    """

    def item_matrix(self, config: Any, dataset: Any) -> Tensor:
        """Solve for W in closed form."""
        rows = training_interactions(dataset)
        users, items = rows[self.USER_ID].numpy(), rows[self.ITEM_ID].numpy()
        gram = np.zeros((self.n_items, self.n_items))  # of counts, which are exact in any order
        for start in range(0, dataset.user_num, USERS_AT_A_TIME):
            mine = (users >= start) & (users < start + USERS_AT_A_TIME)
            matrix = np.zeros((USERS_AT_A_TIME, self.n_items))
            matrix[users[mine] - start, items[mine]] = 1.0
            gram += matrix.T @ matrix
        gram[np.diag_indices_from(gram)] += config["ease_regularisation"]
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        weights[0] = weights[:, 0] = 0.0  # padding
        return torch.from_numpy(weights)
