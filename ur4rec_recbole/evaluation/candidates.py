"""Sampled candidates: items that a user has never had, drawn once from a seed per user.

The user's whole sequence is left out, later interactions too: a candidate is never something that
the user goes on to choose. A draw depends on the seed and the user alone, so that all models of a
comparison meet the same candidates; each user therefore has a generator of their own.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from scipy.optimize import brentq

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation import draws

N_SAMPLED = 99
# Users times items up to which users are drawn for one after another, each with numpy's generator,
# as for all results so far; beyond, which would take minutes, all at once (draws.py).
ONE_BY_ONE = 100_000_000
SAMPLED = ("uniform_99", "popularity_99")  # protocols
# Maps a generator, a user's items and a number of draws to positions among the unseen items.
Choice = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]

Seen = tuple[np.ndarray, np.ndarray, np.ndarray]  # of `_seen`
_drawn: WeakKeyDictionary[UR4RecDataset, dict[int, dict[str, np.ndarray]]] = WeakKeyDictionary()


def candidates_of(part: UR4RecDataset, seed: int) -> dict[str, np.ndarray]:
    """Return the candidates [R, 99] of each sampled protocol, drawn at the first call.

    Empty where a user has too few unseen items (`too_few_unseen`).
    """
    by_seed = _drawn.setdefault(part, {})
    if seed not in by_seed:
        kinds = (sampled_candidates, popular_candidates)
        sampled = not too_few_unseen(part)
        by_seed[seed] = (
            {name: draw(part, seed) for name, draw in zip(SAMPLED, kinds, strict=True)}
            if sampled
            else {}
        )
    return by_seed[seed]


def too_few_unseen(part: UR4RecDataset, count: int = N_SAMPLED) -> str:
    """Say which user of a data split has too few unseen items, and how many; or ""."""
    return _lacking(part, _seen(part), count)


def _lacking(part: UR4RecDataset, seen: Seen, count: int) -> str:
    users, _, bounds = seen
    if not len(users):
        return ""
    unseen = part.item_num - 1 - np.diff(bounds)
    least = int(unseen.argmin())
    if unseen[least] >= count:
        return ""
    return f"{unseen[least]} for user {part.id2token(part.uid_field, users[least])}"


def sampled_candidates(part: UR4RecDataset, seed: int, count: int = N_SAMPLED) -> np.ndarray:
    """Draw [R, count] distinct unseen items uniformly."""

    def choose(generator: np.random.Generator, had: np.ndarray, n: int) -> np.ndarray:
        return generator.choice(part.item_num - 1 - len(had), n, replace=False)

    weights = np.ones(part.item_num)
    weights[0] = 0
    return _draw(part, [seed], count, choose, weights)


def popular_candidates(part: UR4RecDataset, seed: int, count: int = N_SAMPLED) -> np.ndarray:
    """Draw [R, count] distinct unseen items, each next one in proportion to training popularity.

    Items without a training interaction come only where all others are used up.
    """
    weights = part.training_counts.astype(float)
    horizon = _horizon(weights[1:], 2 * count)

    def choose(generator: np.random.Generator, had: np.ndarray, n: int) -> np.ndarray:
        # Arrival times at rates w: their order is that of drawing without replacement.
        # Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
        weight = np.delete(weights, np.r_[0, had])
        arrival = generator.standard_exponential(len(weight))
        near = np.flatnonzero(arrival <= horizon * weight)  # far fewer to sort than all
        if len(near) < n:
            near = np.arange(len(weight))
        arrival, weight = arrival[near], weight[near]
        late = np.where(weight > 0, arrival / np.maximum(weight, 1), np.inf)
        return near[np.lexsort((arrival, late))[:n]]

    return _draw(part, [seed, 1], count, choose, weights)


def _horizon(weights: np.ndarray, wanted: int) -> float:
    """Return the time by which `wanted` arrivals at rates [N] are expected.

    0 where the rates are of fewer items than that: the earliest must then be looked for among all.
    """
    rates = weights[weights > 0]
    if len(rates) <= wanted:
        return 0.0

    def surplus(time: float) -> float:
        return float(-np.expm1(-rates * time).sum() - wanted)

    return float(brentq(surplus, 0, 50 / rates.min()))


def _draw(
    part: UR4RecDataset, seed: list[int], count: int, choose: Choice, weights: np.ndarray
) -> np.ndarray:
    users, items, bounds = seen = _seen(part)
    lacking = _lacking(part, seen, count)
    if lacking:
        raise InputError(
            "Sampled evaluation", f"needs {count} items that a user has not had", lacking,
            "Use full ranking on so small a data set.",
        )  # fmt: skip

    def draw_for(user: int, had: np.ndarray, n: int) -> np.ndarray:
        places = choose(np.random.default_rng([*seed, user]), had, n)
        unseen_before = had - 1 - np.arange(len(had))
        return 1 + places + np.searchsorted(unseen_before, places, side="right")

    if len(users) * part.item_num > ONE_BY_ONE:
        owner = np.repeat(users, np.diff(bounds))
        drawn = draws.draw(users, owner * part.item_num + items, weights, count, seed, draw_for)
    else:
        drawn = np.empty((len(users), count), dtype=np.int32)
        for row, user in enumerate(users):
            drawn[row] = draw_for(int(user), items[bounds[row] : bounds[row + 1]], count)
    return drawn[np.searchsorted(users, part.inter_feat[part.uid_field].numpy())]


def _seen(part: UR4RecDataset) -> Seen:
    """Return all items that the users of a data split ever have.

    Returns
    -------
    users
        [U] of the part's rows, ascending.
    items
        Distinct items of each user, ascending, user after user.
    bounds
        [U + 1] where each user's items begin and end.
    """
    users = np.unique(part.inter_feat[part.uid_field].numpy())
    all_users = part.interactions[part.uid_field].numpy()
    mine = np.isin(all_users, users)
    owner, item = all_users[mine].astype(np.int64), part.interactions[part.iid_field].numpy()[mine]
    owner, items = np.divmod(np.unique(owner * part.item_num + item), part.item_num)
    return users, items, np.r_[np.searchsorted(owner, users), len(items)]
