"""Trend: what others chose of late, when a recommendation is asked for."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Toy
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions
from ur4rec_recbole.model.recent_popularity import RecentPopularity
from ur4rec_recbole.model.trend import PRIORS, WEIGHTS, RecentCounts, Trend

N, DAY = 5, 86400.0
TIMES = torch.tensor([0.0, 1.0, 1.5, 1.5, 3.0], dtype=torch.float64) * DAY
ITEMS = torch.tensor([1, 2, 1, 3, 2])


def made(half_lives: tuple[float, ...] = (DAY,)) -> Trend:
    trend = Trend(ITEMS.bincount(minlength=N), list(half_lives))
    trend.remember(TIMES, ITEMS)
    return trend


def naive(moment: float, half_life: float) -> np.ndarray:
    counts = np.zeros(N)
    for time, item in zip(TIMES.tolist(), ITEMS.tolist(), strict=True):
        if time < moment:
            counts[item] += 2 ** -((moment - time) / half_life)
    return counts


def test_counts_are_of_what_came_before_and_halve_with_time() -> None:
    counts = RecentCounts(TIMES.numpy(), ITEMS.numpy(), N)
    moments = np.array([3.0, 0.0, 1.5, 9.0, 1.5000001]) * DAY  # in no order
    for half_life in (DAY / 4, DAY):
        found = counts.at(moments, half_life)
        expected = [naive(moment, half_life) for moment in moments]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_counts_of_some_moments_are_those_of_all() -> None:
    generator = np.random.default_rng(0)
    times, items = generator.random(300) * 90 * DAY, generator.integers(1, N, 300)
    counts, moments = RecentCounts(times, items, N), generator.random(40) * 99 * DAY
    together = counts.at(moments, DAY)
    alone = np.concatenate([counts.at(moments[n : n + 1], DAY) for n in range(len(moments))])
    np.testing.assert_allclose(together, alone, atol=1e-4)  # what is forgotten is a millionth


def test_the_scores_get_the_weighted_log_of_now_over_ever() -> None:
    trend, scores = made(), torch.randn(2, N)
    moments = torch.tensor([2.0, 0.0], dtype=torch.float64) * DAY
    assert not trend.is_active  # until something is chosen
    trend.choose(DAY, 0.1, 0.5)
    counts, ever = naive(2 * DAY, DAY), np.array([0, 2, 2, 1, 0]) / 5
    expected = 0.5 * np.log((counts + 0.1) / (ever * counts.sum() + 0.1))
    found = trend(scores, moments) - scores
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert not found[1].any()  # nobody had chosen anything by then


def test_validation_rows_choose_what_lifts_their_targets() -> None:
    trend = made((DAY / 4, DAY))
    moments = torch.full((8,), 3.5 * DAY, dtype=torch.float64)
    targets = torch.full((8,), 2)
    scores = torch.zeros(8, N)
    scores[:, 1] = 0.3  # all-time favourite, which item 2, chosen half a day ago, should overtake
    evidence = trend.evidence(scores, moments, targets)
    assert evidence.shape == (8, 2 * len(PRIORS) * len(WEIGHTS))
    assert evidence.max() == 1
    trend.fit(evidence)
    assert trend(scores, moments).argmax(1).tolist() == targets.tolist()
    assert "half-life" in trend.told()
    trend.forget()
    assert not trend.is_active


def test_what_is_served_knows_the_counts_of_the_end_and_lets_them_fade() -> None:
    trend = made()
    trend.choose(DAY, 1.0, 1.0)
    served = Trend(ITEMS.bincount(minlength=N), [DAY])
    served.load_state_dict(trend.state_dict())
    later = torch.tensor([3.5, 40.0], dtype=torch.float64) * DAY
    added = served(torch.zeros(2, N), later)
    torch.testing.assert_close(added, trend(torch.zeros(2, N), later), atol=1e-4, rtol=1e-4)
    assert added[1].abs().max() < 1e-4  # a month later nothing is of late
    more = served.grown(2)(torch.zeros(2, N + 2), later)
    torch.testing.assert_close(more[:, :N], added)


@pytest.fixture
def timed(toy: Any) -> Toy:
    return toy(request_time=True, stages=["pretrain_sasrec"], trend_half_lives=["10s", "60s"])


def test_a_training_chooses_the_trend_and_hands_on_nothing_worse(timed: Toy) -> None:
    trainer = timed.new_trainer()
    score, _ = trainer.fit(timed.loaders[0], timed.loaders[1], verbose=False)
    assert score >= trainer.results[-1].score
    again, _ = trainer._valid_epoch(timed.loaders[1])
    assert again == pytest.approx(score)


@torch.no_grad()
def test_a_trend_changes_scores_by_the_time_of_the_request_alone(timed: Toy) -> None:
    model, rows = timed.model.eval(), timed.rows(timed.valid)
    before = model.full_sort_predict(rows)
    model.trend.choose(10.0, 1.0, 1.0)
    found = model.full_sort_predict(rows)
    expected = model.trend(before, rows["exact_seconds"])
    torch.testing.assert_close(found[:, 1:], expected[:, 1:])
    assert not torch.equal(found, before)


def test_weights_from_before_there_was_a_trend_are_loaded_without(timed: Toy) -> None:
    older = {name: v for name, v in timed.model.state_dict().items() if "trend" not in name}
    assert len(older) < len(timed.model.state_dict())
    timed.model.load_state_dict(older)
    assert not timed.model.trend.weight


@pytest.mark.parametrize(
    "settings",
    [
        {"trend_half_lives": ["soon"]},
        {"trend_half_lives": [0]},
        {"trend_choice": [86400]},
        {"trend_choice": [86400, 1.0, float("nan")]},
        {"trend_choice": [0, 1.0, 1.0]},
    ],
)
def test_what_is_no_trend_is_refused(toy: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="trend"):
        _ = toy(request_time=True, **settings).model


def test_without_request_times_there_is_no_trend(toy: Any) -> None:
    assert toy().model.trend is None
    assert toy(request_time=True, trend_half_lives=[]).model.trend is None


@pytest.mark.parametrize("request_time", [False, True])
def test_recent_popularity_is_that_of_the_newest_item_or_of_the_request(
    toy: Any, request_time: bool
) -> None:
    made = toy(model="RecentPopularity", popularity_half_life="30s", request_time=request_time)
    model, rows = RecentPopularity(made.config, made.train), made.rows(made.valid)
    found = model.full_sort_predict(rows)
    moments = rows["exact_seconds"]
    if not request_time:
        moments = rows["exact_seconds_list"].gather(1, rows["item_length"][:, None] - 1).squeeze(1)
    known = training_interactions(made.train)
    for row, moment in enumerate(moments.tolist()):
        weights = 0.5 ** ((moment - known["exact_seconds"]) / 30)
        weights = weights * (known["exact_seconds"] < moment)
        expected = torch.zeros(model.n_items, dtype=torch.float64)
        expected.index_add_(0, known["item_id"], weights)
        torch.testing.assert_close(found[row].double(), expected, atol=1e-4, rtol=1e-4)


def test_a_popularity_that_lasts_no_time_is_refused(toy: Any) -> None:
    made = toy(model="RecentPopularity", popularity_half_life="0s")
    with pytest.raises(InputError, match="'popularity_half_life' must be above 0"):
        RecentPopularity(made.config, made.train)
