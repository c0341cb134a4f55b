"""Paired statistics of two models' ranks: users are the sample, and seeds are one inside it.

run folders -> per_user -> compare (bootstrap interval, randomisation test, effect size) -> holm.

A difference is taken between the same user's values under both models, which removes what makes
some users easy for every model; ML-100K's 943 users are too few to do without. Where a model has
several seeds, the interval is of a hierarchical bootstrap: users are drawn with replacement, and so
are each model's seeds, since another training would have been another draw of both.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.evaluation.subsets import per_target

RESAMPLES = 9999
# Holm over a page of a hundred and more comparisons asks for p far below 1 / RESAMPLES.
FLIPS = 99999
Runs = Sequence[tuple[np.ndarray, np.ndarray]]  # users [R] and ranks [R] of each seed's run


class Comparison(NamedTuple):
    """How a model differs from another.

    Attributes
    ----------
    ours, theirs
        Means of the metric over users and seeds.
    low, high
        95% bootstrap interval of the difference ours - theirs: over users and seeds (percentiles),
        over users alone where both models have a single seed (BCa).
    p
        Two-sided, of the paired randomisation test over users; at least 2 / (flips + 1).
    effect
        Mean of the users' differences divided by their standard deviation (Cohen's d_z).
    """

    ours: float
    theirs: float
    low: float
    high: float
    p: float
    effect: float = float("nan")

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
    users, values = by_seed(runs, metric)
    return users, values.mean(axis=1)


def by_seed(runs: Runs, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return users [R] in the order of their tokens, and a metric's values of each run, [R, S]."""
    users = np.sort(runs[0][0])
    columns = []
    for names, ranks in runs:
        order = np.argsort(names)
        _check_same_users(users, names[order])
        columns.append(per_target(ranks[order], metric))
    return users, np.stack(columns, axis=1)


def compare(
    ours: Runs, theirs: Runs, metric: str, seed: int = 2020, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two models by the ranks of their runs (as for `per_user`)."""
    return compare_all([ours], theirs, metric, seed, resamples, resamples)[0]


def compare_all(
    models: Sequence[Runs],
    theirs: Runs,
    metric: str,
    seed: int = 2020,
    resamples: int = RESAMPLES,
    flips: int = FLIPS,
) -> list[Comparison]:
    """Compare several models with one, all by the same resamples.

    Intervals are BCa over users where both models have one seed (Efron, Better bootstrap confidence
    intervals, 1987), else percentiles of a bootstrap of users and seeds. The test flips the signs
    of users' differences at random, seeds averaged.
    """
    users, right = by_seed(theirs, metric)
    lefts = []
    for ours in models:
        others, left = by_seed(ours, metric)
        _check_same_users(others, users)
        lefts.append(left)
    if not lefts:
        return []
    differences = np.stack([left.mean(1) - right.mean(1) for left in lefts], axis=1)
    seeds = [left.shape[1] for left in lefts]
    values = np.concatenate([*lefts, right], axis=1)  # [R, all runs]
    means = _resampled_means(values, _resamples(len(users), resamples, seed))
    flipped = _resampled_means(differences, _signs(len(users), flips, seed))
    generator = np.random.default_rng([seed, 2])
    base = _drawn_seeds(means[:, sum(seeds) :], generator)
    found = []
    for place, column in enumerate(differences.T):
        own = means[:, sum(seeds[:place]) : sum(seeds[: place + 1])]
        booted = _drawn_seeds(own, generator) - base
        ends = float(column.mean() + right.mean()), float(right.mean())
        if np.ptp(column) == 0:  # nothing to resample
            same = float(column[0])
            p, effect = (1.0, 0.0) if same == 0 else (2 / (flips + 1), float(np.inf * same))
            found.append(Comparison(*ends, same, same, p, effect))
            continue
        single = seeds[place] == right.shape[1] == 1
        low, high = _bca(column, booted) if single else np.quantile(booted, [0.025, 0.975])
        effect = float(column.mean() / column.std(ddof=1))
        p = _p_value(column, flipped[:, place])
        found.append(Comparison(*ends, float(low), float(high), p, effect))
    return found


def randomisation_p(differences: np.ndarray, seed: int = 2020, flips: int = FLIPS) -> float:
    """Return the two-sided p of the mean of users' differences [R], as `compare_all` takes it."""
    column = differences[:, None]
    flipped = _resampled_means(column, _signs(len(differences), flips, seed))
    return _p_value(differences, flipped[:, 0])


def _drawn_seeds(means: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Average the seeds' means [B, S] of each resample over S seeds drawn with replacement, [B]."""
    drawn = generator.integers(means.shape[1], size=means.shape)
    return np.take_along_axis(means, drawn, axis=1).mean(axis=1)


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
