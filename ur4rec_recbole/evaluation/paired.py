"""Paired statistics of two models' ranks: users are the sample, seeds are averaged inside a user.

run folders -> per_user -> compare (bootstrap interval, randomisation test) -> holm over the models.

A difference is taken between the same user's values under both models, which removes what makes
some users easy for every model; ML-100K's 943 users are too few to do without.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.evaluation.subsets import per_target

RESAMPLES = 9999
Runs = Sequence[tuple[np.ndarray, np.ndarray]]  # users [R] and ranks [R] of each seed's run


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


def per_user(runs: Runs, metric: str) -> tuple[np.ndarray, np.ndarray]:
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
    ours: Runs, theirs: Runs, metric: str, seed: int = 2020, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two models by the ranks of their runs (as for `per_user`)."""
    return compare_all([ours], theirs, metric, seed, resamples)[0]


def compare_all(
    models: Sequence[Runs], theirs: Runs, metric: str, seed: int = 2020, resamples: int = RESAMPLES
) -> list[Comparison]:
    """Compare several models with one, all by the same resamples.

    The interval is BCa (Efron, Better bootstrap confidence intervals, 1987). The test flips the
    signs of users' differences at random.
    """
    others, right = per_user(theirs, metric)
    columns = []
    for ours in models:
        users, left = per_user(ours, metric)
        _check_same_users(users, others)
        columns.append(left - right)
    if not columns:
        return []
    differences = np.stack(columns, axis=1)
    means = _resampled_means(differences, _resamples(len(others), resamples, seed))
    flipped = _resampled_means(differences, _signs(len(others), resamples, seed))
    found = []
    for column, booted, null in zip(differences.T, means.T, flipped.T, strict=True):
        ends = float(column.mean() + right.mean()), float(right.mean())
        if np.ptp(column) == 0:  # nothing to resample
            same = float(column[0])
            p = 1.0 if same == 0 else 2 / (resamples + 1)
            found.append(Comparison(*ends, same, same, p))
        else:
            found.append(Comparison(*ends, *_bca(column, booted), _p_value(column, null)))
    return found


def _resamples(users: int, number: int, seed: int) -> Iterator[np.ndarray]:
    """Draw users with replacement; yields how often each was drawn, [B, R]."""
    generator = np.random.default_rng([seed, 0])
    for size in _batches(users, number):
        drawn = generator.integers(users, size=(size, users), dtype=np.int32)
        drawn += np.arange(size, dtype=np.int32)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)


def _signs(users: int, number: int, seed: int) -> Iterator[np.ndarray]:
    """Draw a sign for each user, [B, R]."""
    generator = np.random.default_rng([seed, 1])
    for size in _batches(users, number):
        bits = np.frombuffer(generator.bytes(-(-size * users // 8)), dtype=np.uint8)
        yield np.unpackbits(bits, count=size * users).reshape(size, users) * 2.0 - 1


def _batches(users: int, number: int) -> list[int]:
    """Split a number of resamples into batches of at most 8 MB or so."""
    most = max(1, min(number, 10**6 // users))
    return [min(most, number - start) for start in range(0, number, most)]


def _resampled_means(differences: np.ndarray, weights: Iterator[np.ndarray]) -> np.ndarray:
    """Return the means [S, M] of differences [R, M] under the weights [B, R] of each resample."""
    return np.concatenate([each @ differences for each in weights]) / len(differences)


def _bca(values: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a mean from its resamples: bias-corrected and accelerated."""
    error = 1e-12  # equal means differ by rounding
    mean, apart = values.mean(), values - values.mean()
    below = ((means < mean - error).mean() + (means <= mean + error).mean()) / 2
    bias = stats.norm.ppf(below)
    acceleration = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    ends = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(bias + ends / (1 - acceleration * ends)))
    return float(low), float(high)


def _p_value(values: np.ndarray, means: np.ndarray) -> float:
    """Return the two-sided p of a mean among those under random signs."""
    error = 1e-12
    less = ((means <= values.mean() + error).sum() + 1) / (len(means) + 1)
    more = ((means >= values.mean() - error).sum() + 1) / (len(means) + 1)
    return float(min(1.0, 2 * min(less, more)))


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
