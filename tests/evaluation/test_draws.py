"""Draws for all users at once are draws without replacement, whoever else is drawn for."""

import itertools

import numpy as np
import pytest

from ur4rec_recbole.evaluation import draws

WEIGHTS = np.array([0.0, 5.0, 3.0, 2.0, 1.0, 1.0])


def no_rest(user: int, had: np.ndarray, count: int) -> np.ndarray:
    raise AssertionError("enough is found")


def seen_by(users: np.ndarray, items: list[int], n_items: int) -> np.ndarray:
    return np.sort((users[:, None] * n_items + np.array(items)).ravel())


def test_every_sequence_of_items_is_as_likely_as_drawing_one_by_one_makes_it() -> None:
    users = np.arange(1, 60_001)
    drawn = draws.draw(users, seen_by(users, [2], 6), WEIGHTS, 2, [7], no_rest)
    found = np.bincount(drawn[:, 0] * 6 + drawn[:, 1], minlength=36) / len(users)
    for first, second in itertools.product(range(6), repeat=2):
        expected = 0.0
        if first != second and 0 not in (first, second) and 2 not in (first, second):
            expected = WEIGHTS[first] / 9 * WEIGHTS[second] / (9 - WEIGHTS[first])
        error = (expected * (1 - expected) / len(users)) ** 0.5
        assert abs(found[first * 6 + second] - expected) <= 4.5 * error


def test_a_user_s_draw_depends_on_seed_and_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.r_[0.0, np.ones(300)]
    users = np.arange(1, 50)
    seen = seen_by(users, [5, 6], 301)
    together = draws.draw(users, seen, weights, 20, [1, 2], no_rest)
    monkeypatch.setattr(draws, "BLOCK", 4)
    few = draws.draw(users[10:17], seen, weights, 20, [1, 2], no_rest)
    assert np.array_equal(few, together[10:17])
    assert not np.array_equal(draws.draw(users, seen, weights, 20, [1, 3], no_rest), together)
    assert len({tuple(row) for row in together.tolist()}) == len(users)


def test_what_the_weights_cannot_give_is_asked_for() -> None:
    users = np.array([3])
    weights = np.array([0.0, 1.0, 1.0, 0.0, 1e-12, 0.0])
    asked = []

    def rest(user: int, had: np.ndarray, count: int) -> np.ndarray:
        asked.append((user, had.tolist(), count))
        return np.array([4, 3])[:count]

    drawn = draws.draw(users, seen_by(users, [1], 6), weights, 3, [0], rest)
    assert drawn.tolist() == [[2, 4, 3]]
    assert asked == [(3, [1, 2], 2)]


def test_random_numbers_are_spread_evenly() -> None:
    numbers = draws.uniform([2020], np.arange(200), np.arange(500))
    assert numbers.shape == (200, 500)
    assert (numbers >= 0).all() and (numbers < 1).all()
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 5000).max() < 4.5 * 5000**0.5
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.02
