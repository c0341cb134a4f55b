"""Paired statistics of two models' ranks: users are the sample, seeds are averaged inside a user.

run folders -> per_user -> compare (bootstrap interval, randomisation test) -> holm over the models.

A difference is taken between the same user's values under both models, which removes what makes
some users easy for every model; ML-100K's 943 users are too few to do without.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.evaluation.subsets import per_target

RESAMPLES = 9999


class Comparison(NamedTuple):
    """How a model differs from another.

    Attributes
    ----------
    ours, theirs
        Means of the metric over users and seeds.
    low, high
        95% bootstrap interval (BCa) of the difference ours - theirs.
    p
        Two-sided, of the paired randomisation test; at least 2 / (resamples + 1).
    """

    ours: float
    theirs: float
    low: float
    high: float
    p: float

    @property
    def gain(self) -> float:
        """The difference relative to theirs; nan where theirs is 0."""
        return (self.ours - self.theirs) / self.theirs if self.theirs else float("nan")


def per_user(
    runs: Sequence[tuple[np.ndarray, np.ndarray]], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Average a metric over runs inside each user.

    Parameters
    ----------
    runs
        Users [R] and ranks [R] of each seed's run; the rows may be in any order.
    metric
        hit@k, ndcg@k or mrr.

    Returns
    -------
    users, values
        [R] in the order of the user tokens.
    """
    users = np.sort(runs[0][0])
    total = np.zeros(len(users))
    for names, ranks in runs:
        order = np.argsort(names)
        _check_same_users(users, names[order])
        total += per_target(ranks[order], metric)
    return users, total / len(runs)


def compare(
    ours: Sequence[tuple[np.ndarray, np.ndarray]],
    theirs: Sequence[tuple[np.ndarray, np.ndarray]],
    metric: str,
    seed: int = 2020,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two models by the ranks of their runs (as for `per_user`)."""
    users, left = per_user(ours, metric)
    others, right = per_user(theirs, metric)
    _check_same_users(users, others)
    difference = left - right
    means = float(left.mean()), float(right.mean())
    if np.ptp(difference) == 0:  # nothing to resample
        same = float(difference[0])
        return Comparison(*means, same, same, 1.0 if same == 0 else 2 / (resamples + 1))
    interval = stats.bootstrap(
        (difference,), np.mean, n_resamples=resamples, batch=1000, method="BCa",
        rng=np.random.default_rng([seed, 0]),
    ).confidence_interval  # fmt: skip
    test = stats.permutation_test(
        (difference,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True,
        n_resamples=resamples, batch=1000, rng=np.random.default_rng([seed, 1]),
    )  # fmt: skip
    return Comparison(*means, float(interval.low), float(interval.high), float(test.pvalue))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number. Holm, A simple sequentially rejective procedure, 1979."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def _check_same_users(left: np.ndarray, right: np.ndarray) -> None:
    if not np.array_equal(left, right):
        raise InputError(
            "Runs", "can be compared over the same users alone",
            f"{len(left)} and {len(right)} users, {len(np.intersect1d(left, right))} in common",
            "Compare runs of one data set with one split.",
        )  # fmt: skip
