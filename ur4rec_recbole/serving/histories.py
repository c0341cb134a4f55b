"""Histories: what somebody has had, as the batch that a model scores.

Each history is a list of internal ids with times; nothing here knows tokens or data sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender, SequentialRecommender

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import (
    EARLIER,
    HISTORY_END,
    HISTORY_START,
    SECONDS,
    UR4RecDataset,
)

UNIX = 1e8  # seconds from here on are moments in time, smaller ones only an order


@dataclass(frozen=True)
class History:
    """What one user has had, oldest first.

    Attributes
    ----------
    items
        [T] internal ids.
    times
        [T] float64 seconds.
    now
        Seconds, of the request.
    user
        Internal id; 0 for somebody whom training did not know.
    unknown
        Tokens that the catalogue does not have.
    """

    items: np.ndarray
    times: np.ndarray
    now: float
    user: int = 0
    unknown: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class UserHistories:
    """The interactions of all users that are known.

    Attributes
    ----------
    tokens
        [U] by internal id; 0 is padding.
    offsets
        [U + 1], where the interactions of a user begin and end.
    items, times
        [I] internal ids and float64 seconds, by user and time.
    """

    tokens: list[str]
    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, train: UR4RecDataset, all_interactions: bool) -> "UserHistories":
        """Read those of the training part, or those of validation and test, too."""
        rows = train.interactions
        if not all_interactions:
            rows = rows[torch.from_numpy(train.seen_rows())]
        users = rows[train.uid_field].numpy()
        offsets = np.searchsorted(users, np.arange(train.user_num + 1))
        tokens = [str(token) for token in train.field2id_token[train.uid_field]]
        items, times = rows[train.iid_field].numpy(), rows[SECONDS].numpy()
        return cls(tokens, offsets, items, times)

    def user(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items and times of an internal id."""
        span = slice(self.offsets[user], self.offsets[user + 1])
        return self.items[span], self.times[span]

    def typical_gap(self) -> float:
        """Return the median of the seconds between a user's interactions, of those above 0."""
        gaps = np.diff(self.times)
        inside = np.ones(len(gaps), dtype=bool)
        inside[[each - 1 for each in self.offsets[1:-1] if 0 < each < len(self.times)]] = False
        gaps = gaps[inside & (gaps > 0)]
        return float(np.median(gaps)) if len(gaps) else 1.0

    def has_real_times(self) -> bool:
        """Tell whether times are Unix seconds and not only an order."""
        return bool(len(self.times)) and float(np.median(self.times)) > UNIX


def with_histories(model: Any, train: Any) -> UR4RecDataset:
    """Return the training part of a model's data with whole histories, which RecBole's lacks."""
    scores_all = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
    if not (isinstance(model, SequentialRecommender) and scores_all):
        raise InputError(
            "a recommender", "needs a sequential model that scores all items",
            type(model).__name__, "Train UR4Rec, or for example SASRec.",
        )  # fmt: skip
    if isinstance(train, UR4RecDataset):
        return train
    data = UR4RecDataset(train.config)
    data.fingerprint = getattr(train, "fingerprint", None)  # of RecBole's, which was compared
    return data.build()[0]


def as_batch(histories: Sequence[History], config: Any, whole_window: bool) -> Interaction:
    """Return the batch of some histories.

    Parameters
    ----------
    histories
        B of them.
    config
        Names of fields, and the length L of the window.
    whole_window
        Whether lists are L long; otherwise as long as the longest history, which saves time where
        a model takes any length.
    """
    longest = config["MAX_ITEM_LIST_LENGTH"]
    sizes = np.array([min(len(each.items), longest) for each in histories])
    width = longest if whole_window else max(int(sizes.max()), 1)
    items = np.zeros((len(histories), width), dtype=np.int64)
    times = np.zeros((len(histories), width))
    for row, (history, size) in enumerate(zip(histories, sizes, strict=True)):
        if size:
            items[row, :size], times[row, :size] = history.items[-size:], history.times[-size:]
    total = torch.tensor([len(each.items) for each in histories])
    earlier = {}
    if config["exclude_history"]:  # what the window does not hold is to be known, too
        left = [
            torch.from_numpy(each.items[: max(len(each.items) - longest, 0)]) for each in histories
        ]
        earlier = {EARLIER: torch.nn.utils.rnn.pad_sequence(left, batch_first=True).long()}
    suffix, item, time = config["LIST_SUFFIX"], config["ITEM_ID_FIELD"], config["TIME_FIELD"]
    return Interaction(
        {
            config["USER_ID_FIELD"]: torch.tensor([each.user for each in histories]),
            item + suffix: torch.from_numpy(items),
            config["ITEM_LIST_LENGTH_FIELD"]: torch.from_numpy(sizes),
            SECONDS + suffix: torch.from_numpy(times),
            SECONDS: torch.tensor([each.now for each in histories], dtype=torch.float64),
            f"{time}{suffix}": torch.from_numpy(times).float(),
            HISTORY_START: torch.zeros_like(total),
            HISTORY_END: total,
            **earlier,
        }
    )
