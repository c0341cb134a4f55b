"""NewItems: the share of places is the one that was asked for, and they go where they suit."""

from typing import Any

import pytest
import torch

from tests.conftest import make_table
from ur4rec_recbole.model.corrections import DEPTH
from ur4rec_recbole.model.new_items import NewItems

N = 60
NEW = torch.arange(N) >= 40


def share_of(scores: torch.Tensor) -> float:
    places = scores.topk(DEPTH).indices
    return float(NEW[places].float().mean())


def fitted(share: float, scores: torch.Tensor) -> NewItems:
    part = NewItems(share)
    part.fit(part.evidence(scores, NEW, torch.zeros(len(scores), dtype=torch.long)))
    return part


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("ahead", [-3.0, 3.0])
def test_new_items_take_the_share_that_was_asked_for(share: float, ahead: float) -> None:
    torch.manual_seed(1)
    scores = torch.randn(50, N) + ahead * NEW
    scores[:, :5] = -torch.inf  # what is no candidate takes no place
    found = fitted(share, scores)(scores, NEW)
    assert share_of(found) == pytest.approx(share)
    assert torch.equal(found[:, ~NEW], scores[:, ~NEW])


def test_the_places_go_to_the_rows_that_new_items_suit() -> None:
    torch.manual_seed(2)
    scores = torch.randn(20, N)
    scores[:10, NEW] += 2
    scores[:, NEW] -= 4
    found = fitted(0.25, scores)(scores, NEW)
    assert share_of(found[:10]) > 0.4 > 0.1 > share_of(found[10:])


def test_few_new_items_take_what_they_can() -> None:
    scores = torch.randn(6, N)
    scores[:, 42:] = -torch.inf
    found = fitted(0.9, scores)(scores, NEW)
    assert share_of(found) == pytest.approx(0.2)
    assert found.isfinite().sum() == scores.isfinite().sum()


def test_without_new_items_nothing_changes() -> None:
    scores = torch.randn(6, N).masked_fill(NEW, -torch.inf)
    assert not fitted(0.5, scores).is_active


def test_rows_that_no_new_item_is_for_leave_the_others_their_share() -> None:
    scores = torch.randn(8, N)
    part, new = NewItems(0.25), NEW.repeat(8, 1)
    new[:4] = False
    part.fit(part.evidence(scores, new, torch.zeros(8, dtype=torch.long)))
    found = part(scores, new)
    assert torch.equal(found[:4], scores[:4])
    assert share_of(found[4:]) == pytest.approx(0.25, abs=0.5 / (4 * DEPTH))


def toy_with_new_items(toy: Any, **settings: Any) -> Any:
    """The toy's items, five that nobody has had, and vectors of all."""
    every = [f"i{n}" for n in range(1, 26)]
    return toy(
        items=every, tables={"item_text_table": make_table("item_text", every, 6, 1)},
        stages=["pretrain_sasrec"], encoder_content=True, **settings,
    )  # fmt: skip


def test_a_training_gives_them_their_places(toy: Any) -> None:
    data = toy_with_new_items(toy, new_item_share=0.3)
    trainer = data.new_trainer()
    score, _ = trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    again, _ = trainer._valid_epoch(data.loaders[1])
    assert again == pytest.approx(score)
    model, rows = trainer.model.eval(), data.rows(data.valid)
    (new,) = model.new_items.reads(model, rows)
    assert (new & model.scorable()).sum(1).min() >= 5
    with torch.no_grad():
        places = model.full_sort_predict(rows).topk(DEPTH).indices
    assert float(new.gather(1, places).float().mean()) == pytest.approx(
        0.3, abs=0.5 / places.numel()
    )


def test_without_a_history_popular_items_come(toy: Any) -> None:
    data = toy_with_new_items(toy, new_item_offset=9.0)
    model, rows = data.model.eval(), data.rows(data.valid)
    rows["item_id_list"] = torch.zeros_like(rows["item_id_list"])
    with torch.no_grad():
        found = model.full_sort_predict(rows)
    torch.testing.assert_close(found[:, 1:], model.popularity[1:].expand(len(found), -1))


def test_an_offset_that_is_told_is_not_chosen(toy: Any) -> None:
    data = toy_with_new_items(toy, new_item_share=0.3, new_item_offset=-0.5)
    trainer = data.new_trainer()
    trainer.fit(data.loaders[0], data.loaders[1], verbose=False)
    assert float(trainer.model.new_items.offset) == -0.5


def test_unless_asked_for_there_is_none(toy: Any) -> None:
    assert toy().model.new_items is None
