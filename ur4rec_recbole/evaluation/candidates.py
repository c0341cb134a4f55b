"""Sampled candidates: items that a user has never had, drawn once by a seed a user.

The user's whole sequence is left out, later interactions too: a candidate is never something that
the user goes on to choose. Used by evaluation.py, so that all models meet the same candidates.
"""

from collections.abc import Callable

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import HISTORY_START, UR4RecDataset

N_SAMPLED = 99
Draw = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


def sampled_candidates(part: UR4RecDataset, seed: int, count: int = N_SAMPLED) -> np.ndarray:
    """Draw [R, count] distinct unseen items uniformly."""
    return _draw(
        part, [seed], count, lambda generator, unseen, n: generator.choice(unseen, n, False)
    )


def popular_candidates(part: UR4RecDataset, seed: int, count: int = N_SAMPLED) -> np.ndarray:
    """Draw [R, count] distinct unseen items, each next one in proportion to training popularity.

    Items without a training interaction come only where all others are used up.
    """
    weights = part.training_counts

    def draw(generator: np.random.Generator, unseen: np.ndarray, n: int) -> np.ndarray:
        # Arrival times at rates w: their order is that of drawing without replacement.
        # Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
        arrival = generator.standard_exponential(len(unseen))
        weight = weights[unseen]
        late = np.where(weight > 0, arrival / np.maximum(weight, 1), np.inf)
        return unseen[np.lexsort((arrival, late))[:n]]

    return _draw(part, [seed, 1], count, draw)


def _draw(part: UR4RecDataset, seed: list[int], count: int, draw: Draw) -> np.ndarray:
    users = part.interactions[part.uid_field].numpy()
    items = part.interactions[part.iid_field].numpy()
    starts = part.inter_feat[HISTORY_START].numpy()
    stops = np.searchsorted(users, users[starts], side="right")
    drawn = np.empty((len(starts), count), dtype=np.int64)
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        unseen = np.setdiff1d(np.arange(1, part.item_num), items[start:stop])
        if len(unseen) < count:
            raise InputError(
                "Sampled evaluation",
                f"needs {count} items that a user has not had",
                f"{len(unseen)} for user {part.id2token(part.uid_field, users[start])}",
                "Use full ranking on so small a data set.",
            )
        generator = np.random.default_rng([*seed, int(users[start])])
        drawn[row] = draw(generator, unseen, count)
    return drawn
