"""Cooccurrences: what is counted, how it is mixed with the scores, and what validation chooses."""

from typing import Any

import numpy as np
import pytest
import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions
from ur4rec_recbole.model import cooccurrences, pair_counts
from ur4rec_recbole.model.cooccurrences import LASTING, PASSING, SHARES, Cooccurrences

N = 6
USERS = torch.tensor([1, 1, 1, 2, 2, 2])
ITEMS = torch.tensor([1, 2, 3, 1, 2, 1])


def made(window: int = 2) -> Cooccurrences:
    counts = Cooccurrences(N)
    counts.remember(USERS, ITEMS, window)
    return counts


def dense(counts: Cooccurrences, name: str) -> torch.Tensor:
    """n(i, j) [N, N] of a table."""
    found = torch.zeros(N, N)
    return found.scatter_add(1, counts.near.long(), counts.get_buffer(name))


def test_pairs_count_within_a_user_and_a_window_and_less_further_apart() -> None:
    after = torch.zeros(N, N)
    after[1, 2] = 2.0  # once in each history; 1 then 1, two places apart, says nothing
    after[2, 3] = after[2, 1] = 1.0
    after[1, 3] = 0.8
    torch.testing.assert_close(dense(made(), "after"), after)
    torch.testing.assert_close(dense(made(), "before"), after.T)
    after[1, 3] = 0.0
    torch.testing.assert_close(dense(made(window=1), "after"), after)


def test_what_is_counted_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = passing()
    monkeypatch.setattr(pair_counts, "PAIRS", 1)
    assert len(whole.tables()) == 6
    for name, table in passing().tables().items():
        assert torch.equal(table, whole.tables()[name])


def test_of_many_companions_the_most_frequent_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_counts, "KEPT", 1)
    counts = made()
    assert counts.near.shape == (N, 1)
    assert counts.near[:4, 0].tolist() == [0, 2, 1, 2]
    assert not counts.after[[0, 4, 5]].any()


@pytest.mark.parametrize("half_life", [0.0, 86400.0])
def test_users_with_one_interaction_leave_nothing_to_count(half_life: float) -> None:
    counts = Cooccurrences(N, [half_life] if half_life else [])
    counts.remember(torch.arange(3), torch.tensor([1, 2, 2]), 10, torch.arange(3).double())
    counts.choose(half_life, 0.8, 1.0, 0.5)
    scores = torch.randn(1, N)
    moments = torch.zeros(1, dtype=torch.float64)
    found = counts(scores, torch.tensor([[1]]), torch.tensor([1]), moments)
    torch.testing.assert_close(found, scores.log_softmax(-1))


def test_until_a_share_is_chosen_it_changes_nothing() -> None:
    assert not made().is_active


def test_the_mixture_is_that_of_the_formula_for_candidates_alone() -> None:
    counts, scores = made(), torch.randn(2, N)
    scores[:, 0] = scores[0, 2] = -torch.inf
    counts.choose(0.0, 0.5, 1.0, 0.6)
    histories, lengths = torch.tensor([[3, 1, 2], [1, 0, 0]]), torch.tensor([3, 1])
    found = counts(scores, histories, lengths).exp()
    n = (dense(counts, "after") + dense(counts, "before")).numpy()
    rows = [n[2] + 0.5 * n[1] + 0.25 * n[3], n[1]]
    for row, c in enumerate(rows):
        c[0] = 0.0
        if row == 0:
            c[2] = 0.0
        weight = 0.6 * c.sum() / (c.sum() + 10)
        expected = (1 - weight) * scores[row].softmax(0).numpy() + weight * c / c.sum()
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


def test_items_far_behind_keep_their_order() -> None:
    counts = made()
    counts.choose(0.0, 0.5, 1.0, 0.6)
    scores = torch.tensor([[-torch.inf, 0.0, -40.0, -60.0, -200.0, -300.0]])
    found = counts(scores, torch.tensor([[5]]), torch.tensor([1]))[0]
    order = found[
        counts._counts(scores, torch.tensor([[5]]), torch.tensor([1]), None, 0.0, 0.5, 1.0)[0] == 0
    ]
    assert (order[1:].diff() < 0).all()
    assert order[0] == -torch.inf


def test_a_choice_of_validation_rows_lifts_their_targets() -> None:
    """After item 1 comes 2; the scores would have 5."""
    counts = made()
    scores = torch.zeros(8, N)
    scores[:, 5], scores[:, 0] = 0.2, -torch.inf
    histories, lengths = torch.full((8, 1), 1), torch.ones(8, dtype=torch.long)
    targets = torch.full((8,), 2)
    evidence = counts.evidence(scores, histories, lengths, targets)
    assert evidence.shape == (8, len(LASTING) * len(SHARES))
    counts.fit(evidence)
    assert counts(scores, histories, lengths).argmax(1).tolist() == targets.tolist()
    best = evidence.mean(0).max()
    again = cooccurrences.discounted_gain(counts(scores, histories, lengths), targets)
    assert again.mean() == best
    counts.forget()
    assert not counts.is_active


def test_order_is_told_from_company() -> None:
    """1 comes before 2 and never after it: only what counts both ways sees 1 near 2."""
    counts = Cooccurrences(N)
    counts.remember(torch.tensor([1, 1]), torch.tensor([1, 2]), 1)
    scores, histories = torch.zeros(1, N), torch.tensor([[2]])
    counts.choose(0.0, 0.8, 0.0, 0.5)
    assert counts(scores, histories, torch.tensor([1]))[0].std() == 0
    counts.choose(0.0, 0.8, 1.0, 0.5)
    assert counts(scores, histories, torch.tensor([1]))[0].argmax() == 1


@pytest.mark.parametrize("exclude_history", [False, True])
def test_a_training_chooses_and_hands_on_nothing_worse(toy: Any, exclude_history: bool) -> None:
    toy_data = toy(
        cooccurrence_window=3, stages=["pretrain_sasrec"], exclude_history=exclude_history
    )
    trainer = toy_data.new_trainer()
    score, _ = trainer.fit(toy_data.loaders[0], toy_data.loaders[1], verbose=False)
    assert score >= trainer.results[-1].score
    again, _ = trainer._valid_epoch(toy_data.loaders[1])
    assert again == pytest.approx(score)


def test_only_training_interactions_are_counted(toy: Any) -> None:
    toy_data = toy(cooccurrence_window=1, stages=["pretrain_sasrec"])
    model = toy_data.new_trainer().model
    rows = training_interactions(toy_data.loaders[0]._dataset)
    users, items = rows["user_id"], rows["item_id"]
    pairs = (users[1:] == users[:-1]) & (items[1:] != items[:-1])
    assert len(users) < len(toy_data.loaders[0]._dataset.interactions["user_id"])
    assert float(model.cooccurrences.after.sum()) == pairs.sum()


@pytest.mark.parametrize(
    "choice",
    [[0.8, 1, 0.5], [0, 0.8, 1, 1.5], [0, 0.8, 1, "a"], [0, 0.8, -1, 0.5], [86400, 0.8, 1, 0.5]],
)
def test_told_numbers_must_be_a_decay_a_switch_and_a_share(toy: Any, choice: list) -> None:
    """And a half-life where the model reads times, which this one does not."""
    with pytest.raises(InputError, match="cooccurrence_choice"):
        toy(cooccurrence_window=1, cooccurrence_choice=choice).new_trainer()


DAY = 86400.0
# 1 is followed by 2 on the first day, by 3 on the ninth.
PASSING_USERS = torch.tensor([1, 1, 2, 2])
PASSING_ITEMS = torch.tensor([1, 2, 1, 3])
PASSING_TIMES = torch.tensor([0.0, 0.5, 8.0, 8.5], dtype=torch.float64) * DAY


def passing() -> Cooccurrences:
    counts = Cooccurrences(N, [2 * DAY])
    counts.remember(PASSING_USERS, PASSING_ITEMS, 1, PASSING_TIMES)
    return counts


def counted(counts: Cooccurrences, day: float, half_life: float) -> torch.Tensor:
    moments = torch.tensor([day * DAY], dtype=torch.float64)
    history = torch.tensor([[1]]), torch.tensor([1])
    return counts._counts(torch.zeros(1, N), *history, moments, half_life, 0.8, 0.0)[0]


def test_with_a_half_life_a_pair_counts_by_how_far_off_it_was() -> None:
    """Periods are of a day: the pairs are of half a day and of eight days and a half."""
    told = {0.5: [1.0, 1 / 16], 3.5: [1.0, 1 / 2], 4.5: [1.0, 1.0], 400.5: [1 / 16, 1.0]}
    for day, expected in told.items():
        found = counted(passing(), day, 2 * DAY)
        torch.testing.assert_close(found[[2, 3]], torch.tensor(expected))
        assert not found[[0, 1, 4, 5]].any()


def test_what_is_no_candidate_does_not_make_the_others_old() -> None:
    """On the tenth day only 2 is left, which followed 1 nine days before: it counts in full."""
    moments, scores = torch.tensor([9.5 * DAY], dtype=torch.float64), torch.zeros(1, N)
    scores[0, 3] = -torch.inf
    history = torch.tensor([[1]]), torch.tensor([1])
    found = passing()._counts(scores, *history, moments, 2 * DAY, 0.8, 0.0)[0]
    assert found.tolist() == [0, 0, 1, 0, 0, 0]


def test_an_item_that_nothing_followed_counts_nothing() -> None:
    moments, history = torch.zeros(1, dtype=torch.float64), torch.tensor([[5]])
    found = passing()._counts(torch.zeros(1, N), history, torch.tensor([1]), moments, DAY, 0.8, 0.0)
    assert not found.any()


def test_what_lasts_is_counted_whatever_the_period() -> None:
    counts = Cooccurrences(N, [2 * DAY])
    twice = torch.tensor([1, 2, 1, 2])
    counts.remember(PASSING_USERS, twice, 1, PASSING_TIMES)
    assert (counts.then[1] == 2).sum() == 2  # an entry for each period
    assert (counts.near[1] == 2).sum() == 1
    assert counted(counts, 4.5, 0.0)[2] == 2.0


def test_of_entries_that_count_the_same_the_newest_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pair_counts, "KEPT", 1)
    assert passing().then[1].tolist() == [3]


def test_validation_rows_choose_a_half_life_where_what_goes_together_passes() -> None:
    """On the ninth day 3 follows 1, which counts of all days do not tell from 2."""
    counts = passing()
    scores = torch.zeros(8, N)
    scores[:, 2], scores[:, 0] = 0.1, -torch.inf
    rows = torch.full((8, 1), 1), torch.ones(8, dtype=torch.long)
    moments, targets = torch.full((8,), 9 * DAY, dtype=torch.float64), torch.full((8,), 3)
    evidence = counts.evidence(scores, *rows, moments, targets)
    assert evidence.shape == (8, (len(LASTING) + len(PASSING)) * len(SHARES))
    counts.fit(evidence)
    assert float(counts.half_life) == 2 * DAY
    assert counts(scores, *rows, moments).argmax(1).tolist() == targets.tolist()
    assert "half-life 2 days" in counts.told()


@pytest.mark.parametrize("reads", ["time_intervals", "request_time"])
def test_what_a_model_reads_says_when_it_counts(toy: Any, reads: str) -> None:
    toy_data = toy(cooccurrence_window=2, stages=["pretrain_sasrec"], **{reads: True})
    model = toy_data.new_trainer().model
    batch = next(iter(toy_data.loaders[1]))[0]
    *_, moments = model.cooccurrences.reads(model, batch)
    expected = batch["exact_seconds"]
    if reads == "time_intervals":
        last = (batch["item_length"] - 1).unsqueeze(1)
        expected = batch["exact_seconds_list"].gather(1, last).squeeze(1)
    assert torch.equal(moments, expected)


def test_a_model_without_times_has_no_half_lives(toy: Any) -> None:
    assert toy(cooccurrence_window=2).model.cooccurrences.half_lives == ()
    none = {"cooccurrence_half_lives": [], "time_intervals": True}
    assert toy(cooccurrence_window=2, **none).model.cooccurrences.half_lives == ()


@pytest.mark.parametrize("half_lives", [["soon"], [0]])
def test_half_lives_are_times_above_0(toy: Any, half_lives: list) -> None:
    with pytest.raises(InputError, match="cooccurrence_half_lives"):
        toy(
            cooccurrence_window=1, time_intervals=True, cooccurrence_half_lives=half_lives
        ).new_trainer()
