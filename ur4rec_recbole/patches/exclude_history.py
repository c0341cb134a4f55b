"""`exclude_history: True` for RecBole's sequential models: known items are not recommended.

RecBole ranks what the user has had among a sequential model's candidates, and stops training early
by that. With the key, a model ranks as UR4Rec does with its own `exclude_history`. Only scores of
all items are changed, so training is the same until it stops; so is `predict`, which scores the
items that it is given.
"""

import functools
from typing import Any

import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from torch import Tensor

from ur4rec_recbole.core.errors import InputError


def exclude_history(model: Any, train: SequentialDataset) -> None:
    """Let a model's `full_sort_predict` score known items -inf, in place.

    Known is what the user has had in training, and what the row's sequence shows: with
    leave-one-out that is all before the target, however short the model's lists are.

    Parameters
    ----------
    model
        A RecBole sequential model.
    train
        Its training data set of one row a target, histories included.
    """
    if not isinstance(train, SequentialDataset):
        raise InputError(
            "exclude_history", "is for sequential models, whose rows tell the history",
            type(model).__name__, "Remove it: RecBole masks the history of the others itself.",
        )  # fmt: skip
    known = train.inter_matrix("csr")  # first items included, which are never a target
    predict = model.full_sort_predict

    @functools.wraps(predict)
    def without_history(interaction: Interaction) -> Tensor:
        scores = predict(interaction).view(len(interaction), -1)  # [B, N]
        scores = scores.scatter(1, interaction[model.ITEM_SEQ], -torch.inf)
        row, item = known[interaction[model.USER_ID].cpu().numpy()].nonzero()
        scores[row, item] = -torch.inf
        return scores

    model.full_sort_predict = without_history
