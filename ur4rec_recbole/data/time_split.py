"""A split at two moments for all users alike: `eval_args: {split: {TS: [t1, t2]}}`, in seconds.

Leave-one-out trains on some users' interactions that came after others' targets. Here training is
all before t1; the validation target of a user is the first interaction from t1 on and before t2,
the test target the first from t2 on, as for a model that was trained at t1 and then asked. A user
or item that was not there before is part of it; a user's very first interaction is no target,
since it has no history.

Three of RecBole's methods are wrapped: the split, which a TS of three shares still reaches; the
normalisation, after which times may be shares of their span (as by its settings for ml-100k), to
remember that span; and the conversion to tensors, where times become float32, which rounds Unix
seconds to multiples of 64 and more: a time that would come to lie on the other side of a moment is
moved back beside it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset


def apply() -> None:
    """Wrap the methods; a second call changes nothing."""
    if not hasattr(Dataset.time_based_split, "at_moments"):
        Dataset.time_based_split = _at_moments(Dataset.time_based_split)
        Dataset._normalize = _remembering_span(Dataset._normalize)
        Dataset._change_feat_format = _keeping_sides(Dataset._change_feat_format)


def splits_at_moments(how: Any) -> bool:
    """Tell whether `eval_args` ask for this split."""
    moments = how["split"].get("TS")
    return moments is not None and len(moments) == 2


def _remembering_span(normalize: Callable) -> Callable:
    """Keep the first and the last time of a data set whose times become shares of their span."""

    @functools.wraps(normalize)
    def normalized(self: Dataset) -> None:
        if self.time_field not in self.inter_feat:
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


def _keeping_sides(convert: Callable) -> Callable:
    """Keep each time on its side of the moments, and the moments as times are kept."""

    @functools.wraps(convert)
    def converted(self: Dataset) -> None:
        how, field = self.config["eval_args"], self.time_field
        if splits_at_moments(how) and field in self.inter_feat:
            moments = np.array(how["split"]["TS"], dtype=np.float64)
            if hasattr(self, "time_span"):
                first, last = self.time_span
                moments = (moments - first) / (last - first)
            times = self.inter_feat[field].to_numpy(np.float64)
            self.moments, kept = _rounded(moments, times)
            self.inter_feat = self.inter_feat.assign(**{field: kept})
        convert(self)

    return converted


def _rounded(moments: np.ndarray, times: np.ndarray) -> tuple[tuple[float, float], np.ndarray]:
    """Return two moments, and times [R] each on its side of them, as float32."""
    part = np.searchsorted(moments, times, side="right")  # 0, 1 or 2
    first, second = moments.astype(np.float32)
    second = max(second, np.nextafter(first, np.float32(np.inf)))
    least = np.array([-np.inf, first, second], dtype=np.float32)
    most = np.nextafter(np.array([first, second, np.inf], dtype=np.float32), np.float32(-np.inf))
    return (first, second), times.astype(np.float32).clip(least[part], most[part])


def _at_moments(by_shares: Callable) -> Callable:
    @functools.wraps(by_shares)
    def split(self: Dataset, ratios: Sequence[float], group_by: str) -> list[Dataset]:
        if len(ratios) != 2:
            return by_shares(self, ratios, group_by)
        times = self.inter_feat[self.time_field].numpy()
        users = self.inter_feat[group_by].numpy()
        self._drop_unused_col()
        found = rows_by_part(users, times, self.moments)
        return [self.copy(self.inter_feat[torch.from_numpy(rows)]) for rows in found]

    split.at_moments = True  # type: ignore[attr-defined]
    return split


def rows_by_part(
    users: np.ndarray, times: np.ndarray, moments: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows, ascending, of training, validation and test.

    Parameters
    ----------
    users, times
        [R], ascending in time.
    moments
        t1 and t2, in the type of the times.
    """
    first, second = moments
    during, after = (times >= first) & (times < second), times >= second
    return np.flatnonzero(times < first), _first(users, during), _first(users, after)


def _first(users: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return each user's first row of those that are marked."""
    rows = np.flatnonzero(among)
    return rows[np.sort(np.unique(users[rows], return_index=True)[1])]
