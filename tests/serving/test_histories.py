"""Histories become the batches that the data set would have made."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.serving.test_recommender import recommender
from ur4rec_recbole.data.dataset import EARLIER, HISTORY_END, SECONDS
from ur4rec_recbole.serving import speed
from ur4rec_recbole.serving.histories import History, UserHistories, as_batch


def test_a_batch_is_the_data_sets_own(toy: Any) -> None:
    made = toy()
    rows = made.rows()
    known = UserHistories.of(made.train, all_interactions=False)
    histories = [
        History(*known.user(user), now, user)
        for user, now in zip(rows["user_id"].tolist(), rows[SECONDS].tolist(), strict=True)
    ]
    batch = as_batch(histories, made.config, whole_window=True)
    names = ["user_id", "item_id_list", "item_length", SECONDS, f"{SECONDS}_list"]
    for name in names:
        assert torch.equal(batch[name], rows[name]), name
    before = rows[HISTORY_END] - rows["history_start"]
    assert torch.equal(batch[HISTORY_END], before)
    shorter = as_batch(histories[:2], made.config, whole_window=False)
    assert shorter["item_id_list"].shape[1] == int(rows["item_length"][:2].max())


def test_a_model_that_excludes_the_history_is_told_what_the_window_does_not_hold(toy: Any) -> None:
    made = toy()
    longest = made.config["MAX_ITEM_LIST_LENGTH"]
    items = np.arange(longest + 3) % 20 + 1
    histories = [History(each, each.astype(float), 99.0) for each in (items, items[:2])]
    assert EARLIER not in as_batch(histories, made.config, whole_window=True).interaction
    made.config["exclude_history"] = True
    earlier = as_batch(histories, made.config, whole_window=True)[EARLIER]
    assert earlier.tolist() == [items[:3].tolist(), [0, 0, 0]]


def test_the_usual_pace_is_that_within_users() -> None:
    items = np.ones(6, dtype=np.int64)
    times = np.array([0.0, 10, 20, 1e9, 1e9 + 10, 1e9 + 10])
    known = UserHistories(["[PAD]", "u", "v"], np.array([0, 0, 3, 6]), items, times)
    assert known.typical_gap() == 10
    assert known.user(2)[1].tolist() == times[3:].tolist()


def test_a_pace_without_any_interval_is_one_second() -> None:
    known = UserHistories(["[PAD]"], np.zeros(2, dtype=int), np.zeros(0, dtype=int), np.zeros(0))
    assert known.typical_gap() == 1.0
    assert not known.has_real_times()


def test_speed_is_measured_of_known_histories(
    full_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "REPEATS", 20)
    monkeypatch.setattr(speed, "MANY", 30)
    made = recommender(full_toy())
    found = speed.measure(made, speed.known_histories(made))
    assert found["items"] == 20
    assert 0 < found["one_history_ms"] < found["30_histories_ms"]
