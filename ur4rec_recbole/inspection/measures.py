"""What a feature table is worth, in numbers: coverage, norms, duplicates, isotropy, agreement.

Pure functions behind `ur4rec inspect`; only numpy, so that the command starts quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SHUFFLES = 200
LAGS = (-3, -2, -1, 1, 2, 3)


class Spread(NamedTuple):
    """Isotropy of R vectors of width W.

    Attributes
    ----------
    mean_cosine
        Of two different rows; near 1 means that all vectors look alike.
    effective_rank
        exp(entropy of the covariance's eigenvalue shares), from 1 to W.
    first_share
        Share of the variance along the first principal axis.
    """

    mean_cosine: float
    effective_rank: float
    first_share: float


@dataclass(frozen=True)
class Agreement:
    """How alike nearest neighbours are in something that the vectors were not made from.

    Parameters
    ----------
    own
        Mean likeness of a row and its k nearest neighbours.
    shuffled, spread
        Mean and standard deviation of the same with rows shuffled, over `SHUFFLES` draws.
    lags
        Shift -> the same with the table's rows shifted against their tokens.
    lead
        t value of `own` over the best shift, paired by row (the least over all shifts).
    p_value
        Share of shuffles at least as alike as `own`, the real one counted.
    """

    own: float
    shuffled: float
    spread: float
    lags: dict[int, float]
    lead: float
    p_value: float

    @property
    def z(self) -> float:
        """Standard deviations above chance."""
        return (self.own - self.shuffled) / max(self.spread, 1e-12)

    @property
    def best_lag(self) -> int:
        """The shift of the tokens (as np.roll) that agrees best, 0 if they fit as they stand."""
        lag = max(self.lags, key=lambda shift: self.lags[shift])
        return lag if self.lags[lag] > self.own else 0


def unit(vectors: np.ndarray, centre: bool = False) -> np.ndarray:
    """Return [R, W] float32 rows of length 1, after taking off the mean if asked."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)  # squares of 1e30
    rows = (vectors / np.maximum(norms, 1e-9)).astype(np.float32)
    if centre:
        rows = rows - rows.mean(axis=0)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows


def neighbours(vectors: np.ndarray, k: int, block: int = 1024) -> np.ndarray:
    """Return [R, k] the nearest other rows by cosine of the centred vectors, nearest first."""
    rows = unit(vectors, centre=True)
    k = min(k, len(rows) - 1)
    found = np.zeros((len(rows), k), dtype=np.int64)
    for start in range(0, len(rows), block):
        likeness = rows[start : start + block] @ rows.T  # [b, R]
        here = np.arange(len(likeness))
        likeness[here, start + here] = -np.inf
        best = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(likeness, best, 1), axis=1, kind="stable")
        found[start : start + block] = np.take_along_axis(best, order, 1)
    return found


def agreement(nearest: np.ndarray, likeness: np.ndarray, seed: int = 0) -> Agreement:
    """Compare neighbours by `likeness` against shuffled and shifted rows.

    Parameters
    ----------
    nearest
        [R, k] from `neighbours`, rows in the table's order.
    likeness
        [R, R] how alike two tokens are, from elsewhere (genres, shared users).
    seed
        Of the shuffles.
    """
    rows = np.arange(len(likeness))
    own = _likeness_of(nearest, likeness, rows)
    generator = np.random.default_rng(seed)
    chance = np.array(
        [
            _likeness_of(nearest, likeness, generator.permutation(len(rows))).mean()
            for _ in range(SHUFFLES)
        ]
    )
    shifted = {lag: _likeness_of(nearest, likeness, np.roll(rows, lag)) for lag in LAGS}
    return Agreement(
        own=float(own.mean()),
        shuffled=float(chance.mean()),
        spread=float(chance.std()),
        lags={lag: float(values.mean()) for lag, values in shifted.items()},
        lead=min(_paired_t(own - values) for values in shifted.values()),
        p_value=float((1 + (chance >= own.mean()).sum()) / (1 + SHUFFLES)),
    )


def spread(vectors: np.ndarray) -> Spread:
    """Measure isotropy."""
    rows = unit(vectors)
    count = len(rows)
    total = float(np.square(rows.sum(axis=0)).sum())
    mean_cosine = (total - count) / max(count * (count - 1), 1)
    centred = rows - rows.mean(axis=0)
    values = np.clip(np.linalg.eigvalsh(centred.T @ centred), 0, None).astype(np.float64)
    shares = values / max(values.sum(), 1e-12)
    entropy = -float((shares * np.log(np.maximum(shares, 1e-12))).sum())
    return Spread(mean_cosine, float(np.exp(entropy)), float(shares.max()))


def duplicates(vectors: np.ndarray) -> list[np.ndarray]:
    """Return the groups of two or more rows with the very same vector, largest first."""
    _, group, counts = np.unique(vectors, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group.ravel(), kind="stable")
    ends = np.cumsum(counts)
    groups = [order[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return sorted((rows for rows in groups if len(rows) > 1), key=lambda rows: -len(rows))


def label_likeness(labels: Sequence[Sequence[str]]) -> np.ndarray:
    """Return [R, R] the Jaccard likeness of sets of labels; 0 where either is empty."""
    names = sorted({label for row in labels for label in row})
    places = {name: place for place, name in enumerate(names)}
    member = np.zeros((len(labels), len(names)), dtype=np.float32)
    for row, given in enumerate(labels):
        member[row, [places[label] for label in given]] = 1
    both = member @ member.T
    sizes = member.sum(axis=1)
    return both / np.maximum(sizes[:, None] + sizes[None, :] - both, 1e-9)


def _likeness_of(nearest: np.ndarray, likeness: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return [R] each row's mean likeness to its neighbours when row i carries token rows[i]."""
    return likeness[rows[:, None], rows[nearest]].mean(axis=1)


def _paired_t(difference: np.ndarray) -> float:
    deviation = float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return float(difference.mean() / max(deviation, 1e-12))
