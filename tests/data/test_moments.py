"""Moments: what may change places, what may not, and what that must not tell a profile."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Toy
from ur4rec_recbole.data.dataset import HISTORY_END, HISTORY_START
from ur4rec_recbole.data.moments import shuffled_moments, starts_of_moments

TIMES = torch.tensor([[1.0, 1, 1, 4, 5, 5, 9], [0.0, 2, 2, 2, 2, 3, 3]])


@pytest.mark.parametrize(
    ("gap", "starts"),
    [
        (0.0, [[0, 0, 0, 3, 4, 4, 6], [0, 1, 1, 1, 1, 5, 5]]),
        (1.0, [[0, 0, 0, 3, 3, 3, 6], [0, 1, 1, 1, 1, 1, 1]]),
        (4.0, [[0] * 7, [0] * 7]),
    ],
)
def test_a_moment_starts_after_a_wider_gap(gap: float, starts: list[list[int]]) -> None:
    assert starts_of_moments(TIMES, gap).tolist() == starts


def test_one_item_is_a_moment(full_toy: Any) -> None:
    assert starts_of_moments(torch.tensor([[5.0], [0.0]]), 0.0).tolist() == [[0], [0]]
    made = full_toy(shuffle_gap=0.0, MAX_ITEM_LIST_LENGTH=1, stages=["end_to_end"])
    assert torch.isfinite(made.model.full_sort_predict(made.rows())[:, made.model.warm]).all()


def test_every_order_within_moments_is_equally_likely_and_no_other_occurs() -> None:
    torch.manual_seed(0)
    n = 6000
    orders = shuffled_moments(TIMES[:1].expand(n, -1), 0.0)
    assert torch.equal(TIMES[0][orders], TIMES[:1].expand(n, -1))
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == 3 * 2 * 1 * 2
    spread = np.sqrt(n / 12 * 11 / 12)  # of a binomial count
    assert all(abs(count - n / 12) < 5 * spread for count in counts.values())


@pytest.fixture
def tied(full_toy: Any) -> Toy:
    """Interactions that share each time in threes, windows of eight."""
    return full_toy(moment=3, MAX_ITEM_LIST_LENGTH=8, shuffle_gap=0.0)


def window(rows: Any, row: int, field: str) -> list[float]:
    """Return a field of a row's history and then of its target."""
    length = int(rows["item_length"][row])
    return [*rows[f"{field}_list"][row, :length].tolist(), rows[field][row].item()]


def test_training_windows_keep_their_items_and_times_and_change_the_order(tied: Toy) -> None:
    tied.train.config["shuffle_gap"] = None
    fixed = tied.rows(tied.train)
    tied.train.config["shuffle_gap"] = 0.0
    drawn, again = tied.rows(tied.train), tied.rows(tied.train)
    n_moved = 0
    for row in range(len(fixed)):
        expected = window(fixed, row, "item_id"), window(fixed, row, "timestamp")
        found = window(drawn, row, "item_id"), window(drawn, row, "timestamp")
        assert found[1] == expected[1]  # ascending still, the target's among them
        assert sorted(zip(*found, strict=True)) == sorted(zip(*expected, strict=True))
        n_moved += found[0] != expected[0]
        length = int(fixed["item_length"][row])
        assert not drawn["item_id_list"][row, length:].any()
    assert n_moved > len(fixed) / 2
    assert not torch.equal(drawn["item_id_list"], again["item_id_list"])
    assert not torch.equal(drawn["item_id"], fixed["item_id"])  # targets change places, too
    for field in (HISTORY_START, HISTORY_END, "item_length", "user_id"):
        assert torch.equal(drawn[field], fixed[field])


def test_validation_and_test_keep_the_order_of_the_file(tied: Toy) -> None:
    for part in (tied.valid, tied.test):
        first, second = tied.rows(part), tied.rows(part)
        for row in range(len(first)):
            end, length = int(first[HISTORY_END][row]), int(first["item_length"][row])
            expected = part.interactions["item_id"][end - length : end + 1].tolist()
            assert window(first, row, "item_id") == window(second, row, "item_id") == expected


@pytest.mark.parametrize(
    "settings",
    [{"shuffle_gap": 0.0}, {"order_noise": 1.5}, {"shuffle_gap": 0.0, "order_noise": 1.5}],
)
def test_a_profile_knows_nothing_of_what_may_become_the_target(
    full_toy: Any, settings: dict[str, float]
) -> None:
    """No interaction that a snapshot may know comes later in the drawn order."""
    tied = full_toy(moment=3, MAX_ITEM_LIST_LENGTH=8, **settings)
    rows = tied.rows(tied.train)
    seen: dict[str, torch.Tensor] = {}

    def contexts(seq: Any, query: Any, users: Any, known: Any) -> Any:
        seen["known"] = known
        return original(seq, query, users, known)

    tied.model._grouped = lambda rows: (rows, [])  # else rows change places
    original = tied.model.features.contexts
    tied.model.features.contexts = contexts
    tied.model.named_losses(rows)
    n_checked = 0
    for row in range(len(rows)):
        items, start = window(rows, row, "item_id"), int(rows[HISTORY_START][row])
        for place in range(len(items) - 1):
            end = start + int(seen["known"][row, place])
            known = tied.train.interactions["item_id"][start:end].tolist()
            assert not set(known) & set(items[place + 1 :])
            n_checked += bool(known)
    assert n_checked > 20


def test_without_ties_a_gap_of_0_shuffles_nothing(full_toy: Any) -> None:
    toy = full_toy(shuffle_gap=0.0)
    first, second = toy.rows(toy.train), toy.rows(toy.train)
    assert torch.equal(first["item_id_list"], second["item_id_list"])
    assert torch.equal(first["item_id"], second["item_id"])


def test_what_happened_moves_and_when_does_not(full_toy: Any) -> None:
    toy = full_toy(shuffle_gap=1e9)  # all of the toy is one moment
    rows = toy.rows(toy.train)
    items, times = toy.train.interactions["item_id"], toy.train.interactions["timestamp"]
    n_moved = 0
    for row in range(len(rows)):
        end, length = int(rows[HISTORY_END][row]), int(rows["item_length"][row])
        place = slice(end - length, end + 1)
        assert window(rows, row, "timestamp") == times[place].tolist()
        assert sorted(window(rows, row, "item_id")) == sorted(items[place].tolist())
        n_moved += window(rows, row, "item_id") != items[place].tolist()
    assert n_moved > len(rows) / 2
