"""Draws without replacement for many users at once, each from a random stream of their own.

Numbers come from a hash of seed, user and count of the draw, so that a user's do not depend on who
else is drawn for. What comes a second time, or is the user's own, is passed over: that is drawing
without replacement from the rest, in proportion to the weights.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

BLOCK = 8192  # users
ROUNDS = 20
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draw(
    users: np.ndarray,
    seen: np.ndarray,
    weights: np.ndarray,
    count: int,
    seed: Sequence[int],
    rest: Callable[[int, np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Draw items [U, count], distinct and unseen.

    Parameters
    ----------
    users
        [U] internal ids.
    seen
        Ascending user * N + item of all that these users ever have.
    weights
        [N], of the items; padding has none.
    count
        Items drawn for each user.
    seed
        Of the draws.
    rest
        Takes a user, what is out of the question for them (ascending) and a number; returns as many
        further items. Asked where a user's items leave so little of the weight that draws find
        nothing new.
    """
    reached = np.cumsum(weights)
    drawn = np.zeros((len(users), count), dtype=np.int32)
    for start in range(0, len(users), BLOCK):
        block = slice(start, start + BLOCK)
        drawn[block] = _draw_block(users[block], seen, reached, count, seed)
    for row in np.flatnonzero(drawn[:, -1] == 0):
        found = drawn[row][drawn[row] > 0]
        bounds = np.searchsorted(seen, users[row] * len(weights) + np.array([0, len(weights)]))
        had = seen[slice(*bounds)] % len(weights)
        more = rest(int(users[row]), np.union1d(had, found), count - len(found))
        drawn[row, len(found) :] = more
    return drawn


def _draw_block(
    users: np.ndarray, seen: np.ndarray, reached: np.ndarray, count: int, seed: Sequence[int]
) -> np.ndarray:
    """Draw up to `count` items a user, the rest 0."""
    drawn = np.zeros((len(users), count), dtype=np.int64)
    width = count + 29  # draws a round
    for number in range(ROUNDS):
        open_ = np.flatnonzero(drawn[:, -1] == 0)
        if not len(open_):
            break
        points = uniform(seed, users[open_], np.arange(number * width, (number + 1) * width))
        points = np.minimum(points * reached[-1], np.nextafter(reached[-1], 0))  # is rounded up
        items = np.searchsorted(reached, points, side="right")
        keys = users[open_, None] * len(reached) + items
        place = np.minimum(np.searchsorted(seen, keys), len(seen) - 1)
        items[seen[place] == keys] = 0
        drawn[open_] = _first_distinct(np.concatenate([drawn[open_], items], axis=1), count)
    return drawn


def _first_distinct(items: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` distinct items above 0 of each row, filled up with 0."""
    order = np.argsort(items, axis=1, kind="stable")
    ascending = np.take_along_axis(items, order, axis=1)
    fresh = ascending > 0
    fresh[:, 1:] &= ascending[:, 1:] != ascending[:, :-1]
    new = np.empty_like(fresh)
    np.put_along_axis(new, order, fresh, axis=1)
    place = new.cumsum(axis=1) - 1
    new &= place < count
    found = np.zeros((len(items), count), dtype=items.dtype)
    row, column = np.nonzero(new)
    found[row, place[row, column]] = items[row, column]
    return found


def uniform(seed: Sequence[int], users: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return each user's random numbers [U, M] in [0, 1) of the given positions [M] in the stream.

    Source: Steele et al. 2014, Fast splittable pseudorandom number generators (SplitMix64).
    """
    key: Any = np.zeros(len(users), dtype=np.uint64)
    for part in (*(np.uint64(each) for each in seed), users.astype(np.uint64)):
        key = _mixed(key + part + GOLDEN)
    state = key[:, None] + (numbers.astype(np.uint64) + np.uint64(1)) * GOLDEN
    return (_mixed(state) >> np.uint64(11)) * 2.0**-53


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
