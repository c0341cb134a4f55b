"""A split at two moments for all users alike: `eval_args: {split: {TS: [t1, t2]}}`, in seconds.

Leave-one-out trains on some users' interactions that came after others' targets. Here training is
all before t1; the validation target of a user is the first interaction from t1 on and before t2,
the test target the first from t2 on, as for a model that was trained at t1 and then asked. A user
or item that was not there before is part of it; a user's very first interaction is no target,
since it has no history.

Two of RecBole's methods are wrapped: the split, which a TS of three shares still reaches, and the
normalisation, after which times are shares of their span (as by its settings for ml-100k), to
remember that span.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset


def apply() -> None:
    """Wrap both methods; a second call changes nothing."""
    if not hasattr(Dataset.time_based_split, "at_moments"):
        Dataset.time_based_split = _at_moments(Dataset.time_based_split)
        Dataset._normalize = _remembering_span(Dataset._normalize)


def splits_at_moments(how: Any) -> bool:
    """Tell whether `eval_args` ask for this split."""
    moments = how["split"].get("TS")
    return moments is not None and len(moments) == 2


def _remembering_span(normalize: Callable) -> Callable:
    """Keep the first and the last time of a data set whose times become shares of their span."""

    @functools.wraps(normalize)
    def normalized(self: Dataset) -> None:
        if (
            not splits_at_moments(self.config["eval_args"])
            or self.time_field not in self.inter_feat
        ):
            normalize(self)
            return
        before = _span(self)
        normalize(self)
        if _span(self) != before:
            self.time_span = before

    return normalized


def _span(dataset: Dataset) -> tuple[float, float]:
    times = dataset.inter_feat[dataset.time_field]
    return times.min(), times.max()


def _at_moments(by_shares: Callable) -> Callable:
    @functools.wraps(by_shares)
    def split(self: Dataset, ratios: Sequence[float], group_by: str) -> list[Dataset]:
        if len(ratios) != 2:
            return by_shares(self, ratios, group_by)
        times = self.inter_feat[self.time_field].numpy()
        users = self.inter_feat[group_by].numpy()
        self._drop_unused_col()
        moments = np.asarray(ratios, dtype=float)
        if hasattr(self, "time_span"):
            first, last = self.time_span
            moments = (moments - first) / (last - first)
        found = rows_by_part(users, times, moments)
        return [self.copy(self.inter_feat[torch.from_numpy(rows)]) for rows in found]

    split.at_moments = True  # type: ignore[attr-defined]
    return split


def rows_by_part(
    users: np.ndarray, times: np.ndarray, moments: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows, ascending, of training, validation and test.

    Parameters
    ----------
    users, times
        [R], ascending in time. RecBole keeps times as float32, which rounds Unix seconds to
        multiples of 64 and more; the moments are rounded alike, so that no row changes its part.
    moments
        t1 and t2.
    """
    first, second = np.asarray(moments, dtype=times.dtype)
    during, after = (times >= first) & (times < second), times >= second
    return np.flatnonzero(times < first), _first(users, during), _first(users, after)


def _first(users: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return each user's first row of those that are marked."""
    rows = np.flatnonzero(among)
    return rows[np.sort(np.unique(users[rows], return_index=True)[1])]
