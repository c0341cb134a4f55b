"""RareItems: who gets the boost, what validation rows may pay for it, and that it is no more."""

from typing import Any

import pytest
import torch

from ur4rec_recbole.evaluation.subsets import COLD
from ur4rec_recbole.model.rare_items import BOOSTS, RareItems

RARE = torch.tensor([True, True, False, False])


def gain(rank: int) -> float:
    return float(1 / torch.log2(torch.tensor(1.0 + rank)))


def test_rare_items_alone_get_the_boost() -> None:
    part, scores = RareItems(0.1), torch.randn(3, 4)
    assert not part.is_active
    part.choose(0.5)
    torch.testing.assert_close(part(scores, RARE) - scores, 0.5 * RARE.float().expand(3, 4))


def test_evidence_is_the_gain_of_each_boost_and_nothing_below_ten_places() -> None:
    scores = torch.zeros(2, 14)
    rare = torch.arange(14) == 1
    scores[:, 2:] = torch.linspace(0.85, 2.0, 12)  # item 1 is 13th, item 2 twelfth
    found = RareItems(0.1).evidence(scores, rare, torch.tensor([1, 13]))
    assert found.shape == (2, 2 + len(BOOSTS))
    assert found[:, 0].tolist() == [1, 0]
    assert found[0, 1] == 0  # thirteenth without a boost
    assert found[0, -1] == pytest.approx(gain(int((scores[0] > 1.5).sum()) + 1))
    assert found[1, 1:].tolist() == [1] * (1 + len(BOOSTS))  # the best stays the best


def test_rare_targets_gain_most_within_the_price() -> None:
    """Each step of the boost lifts the rare target a little, and takes 1% from the other nine."""
    steps = torch.arange(1.0 + len(BOOSTS))
    rare = torch.cat([torch.ones(1), 0.01 * steps])
    usual = torch.cat([torch.zeros(1), 1 - 0.01 * steps])
    evidence = torch.stack([rare, *[usual] * 9])
    whole = evidence[:, 1:].mean(0)
    for cost in (0.02, 0.055, 1.0):
        part = RareItems(cost)
        part.fit(evidence)
        dearest = max(n for n in range(len(whole)) if whole[n] >= (1 - cost) * whole[0])
        assert float(part.boost) == pytest.approx((0.0, *BOOSTS)[dearest])


def test_without_a_rare_target_there_is_no_boost() -> None:
    part = RareItems(0.5)
    part.fit(torch.cat([torch.zeros(4, 1), torch.rand(4, 1 + len(BOOSTS))], dim=1))
    assert not part.is_active


def test_a_training_pays_no_more_than_the_price(toy: Any) -> None:
    data = toy(stages=["pretrain_sasrec"], rare_item_cost=0.2)
    trainer = data.new_trainer()
    score, _ = trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    assert score >= 0.8 * trainer.results[-1].score
    again, _ = trainer._valid_epoch(data.loaders[1])
    assert again == pytest.approx(score)


def test_what_a_training_gets_for_it_is_hits_of_rare_targets(toy: Any) -> None:
    """A price of all of it buys whatever lifts the rare most."""
    data = toy(stages=["pretrain_sasrec"], rare_item_cost=1.0, allow_unknown_tokens=True)
    trainer = data.new_trainer()
    trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    model, rows = trainer.model.eval(), data.rows(data.valid)
    part = model.rare_items
    (rare,) = part.reads(model, rows)
    counts = data.train.training_counts
    assert rare.tolist() == [count <= COLD for count in counts.tolist()]
    with torch.no_grad():
        found = model.evidence(part, rows)
    of_rare = found[:, 0] @ found[:, 1:]
    assert of_rare[(0.0, *BOOSTS).index(round(float(part.boost), 1))] == of_rare.max()


def test_a_boost_that_is_told_is_not_chosen(toy: Any) -> None:
    data = toy(stages=["pretrain_sasrec"], rare_item_cost=1.0, rare_item_boost=0.25)
    trainer = data.new_trainer()
    trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    assert float(trainer.model.rare_items.boost) == 0.25


def test_at_no_price_there_is_none(toy: Any) -> None:
    assert toy().model.rare_items is None
