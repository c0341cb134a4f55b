"""Paired statistics: known differences are found, chance is not, rows are matched by user."""

import numpy as np
import pytest
from scipy import stats

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.evaluation import paired

USERS = np.array([f"u{n}" for n in range(400)])


def ranks(seed: int, chance: float = 0.3) -> np.ndarray:
    """Return ranks that are 1 with some chance and else 1000."""
    hit = np.random.default_rng(seed).random(len(USERS)) < chance
    return np.where(hit, 1, 1000)


def test_seeds_are_averaged_inside_a_user_whatever_the_order_of_rows() -> None:
    first, second = np.array([1, 50, 3]), np.array([1, 1, 50])
    runs = [(np.array(["b", "a", "c"]), first), (np.array(["a", "b", "c"]), second)]
    users, values = paired.per_user(runs, "hit@10")
    assert users.tolist() == ["a", "b", "c"]
    assert values.tolist() == [0.5, 1.0, 0.5]


def test_a_clear_gain_is_found_with_its_sign() -> None:
    worse = ranks(1)
    better = np.where(ranks(2, 0.2) == 1, 1, worse)
    found = paired.compare([(USERS, better)], [(USERS, worse)], "ndcg@10", resamples=999)
    assert found.ours - found.theirs == pytest.approx(np.mean((better == 1) & (worse != 1)))
    assert 0 < found.low < found.ours - found.theirs < found.high
    assert found.p == pytest.approx(2 / 1000)
    assert found.gain == pytest.approx(found.ours / found.theirs - 1)
    back = paired.compare([(USERS, worse)], [(USERS, better)], "ndcg@10", resamples=999)
    assert back.high < 0
    assert back.p == found.p


def test_chance_is_no_gain() -> None:
    p = [
        paired.compare([(USERS, ranks(n))], [(USERS, ranks(n + 100))], "hit@10", resamples=199).p
        for n in range(20)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.2
    assert np.median(p) > 0.1


def test_users_are_paired_before_they_are_compared() -> None:
    worse = ranks(1)
    better = np.where(np.arange(len(USERS)) < 8, 1, worse)
    order = np.random.default_rng(0).permutation(len(USERS))
    straight = paired.compare([(USERS, better)], [(USERS, worse)], "hit@10", resamples=999)
    mixed = paired.compare(
        [(USERS[order], better[order])], [(USERS, worse)], "hit@10", resamples=999
    )
    assert mixed == straight


def test_equal_models_do_not_differ() -> None:
    found = paired.compare([(USERS, ranks(1))], [(USERS, ranks(1))], "mrr", resamples=99)
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_seeds_that_disagree_widen_the_interval_as_users_do() -> None:
    worse, better = ranks(1), np.where(ranks(2, 0.2) == 1, 1, ranks(1))
    alike = [(USERS, better)] * 3
    apart = [(USERS, better), (USERS, worse), (USERS, np.ones(len(USERS)))]
    theirs = [(USERS, worse)] * 3
    close, wide = (paired.compare(ours, theirs, "hit@10") for ours in (alike, apart))
    single = paired.compare(alike[:1], theirs[:1], "hit@10")
    assert (close.low, close.high) == pytest.approx((single.low, single.high), abs=0.01)
    assert wide.low == pytest.approx(0, abs=0.01)  # where only the seed that gains nothing is drawn
    assert wide.high == pytest.approx(0.7, abs=0.1)  # and where only that which hits always is


def test_an_effect_is_the_mean_difference_over_its_deviation() -> None:
    theirs = np.full(400, 1000)
    ours = np.where(np.arange(400) < 100, 1, 1000)
    found = paired.compare([(USERS, ours)], [(USERS, theirs)], "hit@10", resamples=99)
    assert found.effect == pytest.approx(0.25 / np.std(np.arange(400) < 100, ddof=1))


def test_other_users_are_refused() -> None:
    with pytest.raises(InputError, match="same users.*399 in common"):
        others = np.where(USERS == "u3", "x", USERS)
        paired.compare([(USERS, ranks(1))], [(others, ranks(2))], "hit@10")


def test_intervals_and_p_are_scipys_within_resampling_error() -> None:
    worse, better = np.arange(400) % 7 + 1, np.arange(400) % 5 + 1
    found = paired.compare([(USERS, better)], [(USERS, worse)], "mrr")
    (_, left), (_, right) = (paired.per_user([(USERS, each)], "mrr") for each in (better, worse))
    known = stats.bootstrap((left - right,), np.mean, method="BCa", batch=500, rng=1)
    low, high = known.confidence_interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03 * (high - low))
    chance = np.where(np.arange(400) < 210, worse, better)  # p is about a half
    found = paired.compare([(USERS, chance)], [(USERS, chance[::-1])], "mrr")
    (_, left), (_, right) = (paired.per_user([(USERS, e)], "mrr") for e in (chance, chance[::-1]))
    known = stats.permutation_test(
        (left - right,), lambda x, axis: x.mean(axis), permutation_type="samples",
        vectorized=True, batch=500, rng=1,
    )  # fmt: skip
    assert found.p == pytest.approx(known.pvalue, abs=0.03)


def test_several_models_are_compared_as_each_alone_is() -> None:
    models = [[(USERS, ranks(n))] for n in (2, 3)]
    together = paired.compare_all(models, [(USERS, ranks(1))], "hit@10", resamples=99, flips=99)
    alone = [paired.compare(each, [(USERS, ranks(1))], "hit@10", resamples=99) for each in models]
    assert np.allclose(together, alone)


def test_holm_corrects_step_by_step() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]
    assert paired.holm([]) == []
