"""RareItems: who gets the boost, what validation rows may pay for it, and that it is no more."""

from typing import Any

import pytest
import torch

from tests.conftest import Toy, sequences
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


@pytest.fixture
def mixed(toy: Any) -> Any:
    """Make toys with rare items and others."""

    def make(**settings: Any) -> Toy:
        return toy(histories=sequences([12] * 12, 40), stages=["pretrain_sasrec"], **settings)

    return make


@torch.no_grad()
def of_rare_and_all(data: Toy, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gains of rare targets and of all, without and with each boost."""
    found = model.eval().evidence(model.rare_items, data.rows(data.valid))
    return found[:, 0] @ found[:, 1:], found[:, 1:].mean(0)


@pytest.mark.parametrize("price", [0.1, 0.5, 1.0])
def test_a_training_buys_hits_of_rare_targets_within_the_price(mixed: Any, price: float) -> None:
    data = mixed(rare_item_cost=price)
    trainer = data.new_trainer()
    trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    part = trainer.model.rare_items
    (rare,) = part.reads(trainer.model, data.rows(data.valid))
    assert rare.tolist() == [count <= COLD for count in data.train.training_counts.tolist()]
    assert rare[1:].any() and not rare.all()
    of_rare, of_all = of_rare_and_all(data, trainer.model)
    chosen = (0.0, *BOOSTS).index(round(float(part.boost), 1))
    assert of_all[chosen] >= (1 - price) * of_all[0]
    assert of_rare[chosen] == of_rare[of_all >= (1 - price) * of_all[0]].max()
    if price == 1.0:
        assert of_rare[chosen] > of_rare[0]


def test_what_it_costs_is_counted_once(mixed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the metric that stops training makes of it, the boost that was bought stays."""
    monkeypatch.setattr(RareItems, "fit", lambda self, _: self.choose(1.5))
    data = mixed(rare_item_cost=0.001, valid_metric="MRR@10", metrics=["MRR"], topk=[10])
    trainer = data.new_trainer()
    score, _ = trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    again, _ = trainer._valid_epoch(data.loaders[1])
    assert float(trainer.model.rare_items.boost) == 1.5
    assert again == pytest.approx(score)


def test_a_boost_that_is_told_is_not_chosen(mixed: Any) -> None:
    data = mixed(rare_item_cost=1.0, rare_item_boost=0.25)
    trainer = data.new_trainer()
    trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    assert float(trainer.model.rare_items.boost) == 0.25


def test_weights_of_before_are_loaded_without(mixed: Any) -> None:
    data = mixed(rare_item_cost=0.1)
    older = {name: v for name, v in data.model.state_dict().items() if "rare_items" not in name}
    assert len(older) < len(data.model.state_dict())
    data.model.load_state_dict(older)
    assert not data.model.rare_items.is_active


def test_at_no_price_there_is_none(toy: Any) -> None:
    assert toy().model.rare_items is None
