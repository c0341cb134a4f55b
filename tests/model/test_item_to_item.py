"""Item-to-item models: their matrices equal naive loops, and recency weighs the history."""

from typing import Any

import numpy as np
import pytest
import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions
from ur4rec_recbole.model import item_to_item
from ur4rec_recbole.model.item_to_item import ItemToItem

SETTINGS: dict[str, Any] = {
    "transition_window": 3,
    "gap_decay": 0.5,
    "shrinkage": 2.0,
    "popularity_penalty": 0.5,
    "recency_decay": 0.8,
    "MAX_ITEM_LIST_LENGTH": 5,
}


def histories_of(made: Any) -> list[list[int]]:
    """Return the training sequences, one list of ids a user."""
    rows = training_interactions(made.train)
    users, items = rows["user_id"].tolist(), rows["item_id"].tolist()
    return [
        [i for u, i in zip(users, items, strict=True) if u == user] for user in dict.fromkeys(users)
    ]


def test_transitions_equal_the_naive_count(toy: Any) -> None:
    made = toy(model="ItemTransition", **SETTINGS)
    counts = np.zeros((made.train.item_num, made.train.item_num))
    for sequence in histories_of(made):
        for place, item in enumerate(sequence):
            for gap, later in enumerate(sequence[place + 1 : place + 4]):
                counts[item, later] += 0.5**gap
    expected = counts / (counts.sum(1, keepdims=True) + 2) / np.sqrt(counts.sum(0) + 1)
    np.testing.assert_allclose(made.model.matrix.numpy(), expected, atol=1e-6)
    assert counts.any()


def test_an_item_that_nothing_followed_says_nothing_without_shrinkage(toy: Any) -> None:
    made = toy(model="ItemTransition", **SETTINGS | {"shrinkage": 0.0})
    followed = {item for sequence in histories_of(made) for item in sequence[:-1]}
    for item in range(made.train.item_num):
        assert bool(made.model.matrix[item].any()) == (item in followed)
    assert torch.isfinite(made.model.full_sort_predict(made.rows())).all()


def test_sequential_ease_solves_steck_s_normal_equations(toy: Any) -> None:
    made = toy(model="SequentialEASE", ease_regularisation=3.0)
    n_items = made.train.item_num
    x = np.zeros((made.train.user_num, n_items))
    for user, sequence in enumerate(histories_of(made)):
        x[user, sequence] = 1
    weights = made.model.matrix.double().numpy()
    # At the optimum the gradient of ||X - XW||^2 + reg ||W||^2 vanishes off the diagonal.
    gradient = x.T @ (x @ weights - x) + 3.0 * weights
    np.fill_diagonal(gradient, 0.0)
    np.testing.assert_allclose(gradient[1:, 1:], 0.0, atol=1e-4)
    assert np.abs(weights).max() > 0
    np.testing.assert_array_equal(np.diag(weights), 0.0)


@pytest.mark.parametrize("kind", ["ItemTransition", "SequentialEASE"])
def test_a_score_sums_the_rows_of_the_history_by_age(toy: Any, kind: str) -> None:
    made = toy(model=kind, recency_decay=0.8, MAX_ITEM_LIST_LENGTH=5)
    rows = made.rows()
    expected = torch.zeros(len(rows), made.train.item_num)
    lists, lengths = rows["item_id_list"].tolist(), rows["item_length"].tolist()
    for row, (history, length) in enumerate(zip(lists, lengths, strict=True)):
        for age, item in enumerate(reversed(history[:length])):
            expected[row] += 0.8**age * made.model.matrix[item]
    scores = made.model.full_sort_predict(rows)
    torch.testing.assert_close(scores, expected)
    picked = scores[torch.arange(len(rows)), rows["item_id"]]
    torch.testing.assert_close(made.model.predict(rows), picked)


def test_time_passed_since_an_item_weighs_it_down(toy: Any) -> None:
    settings: dict[str, Any] = {"recency_decay": 0.8, "MAX_ITEM_LIST_LENGTH": 5}
    made = toy(model="ItemTransition", recency_time=0.2, **settings)
    rows = made.rows()
    expected = torch.zeros(len(rows), made.train.item_num)
    for row in range(len(rows)):
        times = rows["timestamp_list"][row]
        for place in range(int(rows["item_length"][row])):
            age = int(rows["item_length"][row]) - 1 - place
            weight = 0.8**age * np.exp((times[place] - times[place + age]) / 0.2)
            expected[row] += weight * made.model.matrix[rows["item_id_list"][row, place]]
    torch.testing.assert_close(made.model.full_sort_predict(rows), expected)
    without = toy(model="ItemTransition", **settings).model.full_sort_predict(rows)
    assert not torch.allclose(without, expected)


@pytest.mark.parametrize("time", [0, "0d"])
def test_a_recency_time_of_0_is_refused(toy: Any, time: Any) -> None:
    with pytest.raises(InputError, match="'recency_time' must be above 0"):
        toy(model="ItemTransition", recency_time=time).model.eval()


def test_validation_and_test_items_leave_no_trace_in_the_matrix(toy: Any) -> None:
    kept = {f"u{n}": [f"i{n % 5 + k}" for k in range(4)] for n in range(9)}
    other = {user: [*history[:2], "i9", "i10"] for user, history in kept.items()}
    items = [f"i{n}" for n in range(12)]
    found = []
    for histories in (kept, other):
        made = toy(histories, items=items, model="ItemTransition", **SETTINGS)
        tokens = ["i0", "i1", "i2", "i3", "i4", "i5"]
        ids = made.item_ids(tokens)
        found.append(made.model.matrix[ids][:, ids])
    torch.testing.assert_close(*found)


def test_training_is_one_idle_epoch(toy: Any) -> None:
    made = toy(model="SequentialEASE")
    trainer = made.new_trainer()
    before = made.model.matrix.clone()
    best, _ = trainer.fit(*made.loaders[:2])
    assert trainer.epochs == 1
    assert best >= 0
    torch.testing.assert_close(made.model.matrix, before)


def test_an_item_to_item_model_without_a_matrix_says_so(toy: Any) -> None:
    made = toy(model="ItemTransition")
    with pytest.raises(NotImplementedError):
        ItemToItem(made.config, made.train)


@pytest.mark.parametrize("kind", ["ItemTransition", "SequentialEASE"])
def test_a_matrix_that_no_machine_holds_is_refused(
    toy: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_to_item, "LARGEST", 5)
    with pytest.raises(InputError, match=f"{kind} holds matrices of N x N.*at most 5 items"):
        toy(model=kind).model.eval()


def test_users_are_counted_in_blocks(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = toy(model="SequentialEASE").model.matrix
    monkeypatch.setattr(item_to_item, "USERS_AT_A_TIME", 3)
    assert torch.equal(toy(model="SequentialEASE").model.matrix, whole)
