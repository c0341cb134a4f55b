"""Time gaps of the history: what the encoder reads of them, and what it must not."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Toy
from tests.model.test_ur4rec import position_scores
from ur4rec_recbole.model.time_gaps import quantiles


@pytest.fixture
def timed(toy: Any) -> Toy:
    return toy(encoder_time_gaps=True)


def test_few_values_are_all_levels() -> None:
    np.testing.assert_array_equal(quantiles(np.array([5.0, 1, 1, 4, 2, 4, 4]), 64), [1, 2, 4, 5])


def test_many_values_are_shared_evenly() -> None:
    values = np.random.default_rng(0).lognormal(size=5000)
    levels = quantiles(values, 50)
    assert len(levels) == 51
    assert set(levels) <= set(values)
    assert np.histogram(values, levels)[0].std() < 2


def test_a_state_depends_on_times_up_to_its_position_alone(timed: Toy) -> None:
    rows = timed.rows(timed.train)
    chosen, _ = timed.model._positions(rows)
    _, place = chosen.nonzero(as_tuple=True)
    times = rows["timestamp_list"]
    before = position_scores(timed.model, rows, "sequence")
    for later in range(1, times.shape[1]):
        changed = times.clone()
        changed[:, later:] -= times[:, later : later + 1] - times[:, later - 1 : later]  # no gap
        rows.interaction["timestamp_list"] = changed
        after = position_scores(timed.model, rows, "sequence")
        same = torch.isclose(before, after, atol=1e-6).all(1)
        assert same[place < later].all()
        assert not same[place == later].all()


def test_a_shift_of_all_times_changes_nothing(timed: Toy) -> None:
    rows = timed.rows(timed.train)
    before = position_scores(timed.model, rows, "sequence")
    rows.interaction["timestamp_list"] = rows["timestamp_list"] + 0.25
    torch.testing.assert_close(position_scores(timed.model, rows, "sequence"), before)


def test_the_target_s_time_is_not_read(timed: Toy) -> None:
    rows = timed.rows()
    before = timed.model.full_sort_predict(rows)
    rows.interaction["timestamp"] = rows["timestamp"] * 0 + 0.7
    torch.testing.assert_close(timed.model.full_sort_predict(rows), before, rtol=0, atol=0)


def test_bins_are_made_from_training_gaps_alone(timed: Toy) -> None:
    users, times = timed.train.interactions["user_id"], timed.train.interactions["timestamp"]
    rows = torch.from_numpy(timed.train.seen_rows())
    gaps = times[rows].diff()[users[rows][1:] == users[rows][:-1]]
    assert timed.model.time_gaps is not None
    levels = gaps.unique()
    torch.testing.assert_close(timed.model.time_gaps.edges, (levels[1:] + levels[:-1]) / 2)
    assert len(gaps) < (users[1:] == users[:-1]).sum()


def test_the_gaps_train_with_the_encoder(toy: Any) -> None:
    made = toy(encoder_time_gaps=True, stages=["pretrain_sasrec"])
    made.model.enter(made.model.stage)
    sum(made.model.calculate_loss(made.rows(made.train))).backward()
    assert made.model.time_gaps.bins.weight.grad.abs().sum() > 0
