"""ContentNeighbours: what an item says of others, and the shares that validation chooses."""

from typing import Any

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation

from tests.conftest import make_table
from ur4rec_recbole.data.modalities import ItemFeatures, Modalities
from ur4rec_recbole.model.features import FeatureBank
from ur4rec_recbole.model.neighbours import ContentNeighbours
from ur4rec_recbole.training.targets import of_targets

N, W, K = 6, 3, 2


def bank() -> FeatureBank:
    """Items 1 and 2 are copies, 5 has no vector."""
    vectors = torch.eye(N, W)
    vectors[2] = vectors[1] = torch.tensor([1.0, 0, 0])
    vectors[3], vectors[4] = torch.tensor([0, 1.0, 0]), torch.tensor([0, 0, 1.0])
    present = torch.tensor([False, True, True, True, True, False])
    return FeatureBank(Modalities({"text": ItemFeatures(vectors, present)}, None))


def made(temperature: float = 0.1) -> ContentNeighbours:
    return ContentNeighbours(("text",), K, temperature)


def test_an_item_speaks_of_its_like_and_neither_of_itself_nor_of_items_without_a_vector() -> None:
    found = made().distributions(torch.tensor([1, 5]), "text", bank())
    like, others = np.exp(10.0), 1.0  # of cosines 1 and 0 over a temperature of 0.1
    expected = torch.tensor([0, 0, like, others, others, 0]) / (like + 2 * others)
    torch.testing.assert_close(found[0], expected.float())
    assert not found[1].any()  # without a vector it says nothing


def test_what_an_item_says_is_computed_once_while_it_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    neighbours, asked = made(), []
    compute = neighbours._distributions

    def recorded(items: torch.Tensor, *rest: Any) -> torch.Tensor:
        asked.extend(items.tolist())
        return compute(items, *rest)

    monkeypatch.setattr(neighbours, "_distributions", recorded)
    expected = compute(torch.arange(N), "text", bank())
    with neighbours.kept():
        for items in ([1, 2], [4, 2, 1], [4]):
            found = neighbours.distributions(torch.tensor(items), "text", bank())
            torch.testing.assert_close(found, expected[items])
    assert asked == [1, 2, 4]
    neighbours.distributions(torch.tensor([1]), "text", bank())
    assert asked[3:] == [1]  # nothing is kept any more


def test_what_takes_too_much_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ur4rec_recbole.model.neighbours.KEPT", N * N - 1)
    neighbours = made()
    with neighbours.kept():
        neighbours.distributions(torch.tensor([1]), "text", bank())
        assert not neighbours._kept


def test_until_shares_are_chosen_they_change_nothing() -> None:
    assert not made().is_active


def test_the_mixture_is_the_sum_of_its_parts_over_those_that_have_something_to_say() -> None:
    neighbours, scores = made(), torch.randn(2, N)
    neighbours.shares.copy_(torch.tensor([0.5, 0.3, 0.2]))
    newest = torch.tensor([[1, 3], [5, 4]])  # 5 has no vector: its share goes to the others
    found = neighbours(scores, newest, bank()).exp()
    told = neighbours.distributions(torch.arange(N), "text", bank())
    first = 0.5 * scores[0].softmax(0) + 0.3 * told[1] + 0.2 * told[3]
    second = (0.5 * scores[1].softmax(0) + 0.2 * told[4]) / 0.7
    torch.testing.assert_close(found, torch.stack([first, second]))


def test_the_shares_are_those_that_made_the_targets() -> None:
    """Targets drawn from a known mixture give its shares back."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.6, 0.3, 0.1])
    parts = torch.rand(20000, 3, 50, generator=generator).pow(4)
    parts /= parts.sum(-1, keepdim=True)
    targets = torch.multinomial((truth.view(1, 3, 1) * parts).sum(1), 1, generator=generator)
    neighbours = made()
    neighbours.fit(parts.gather(2, targets.unsqueeze(1).expand(-1, 3, 1)).squeeze(2))
    torch.testing.assert_close(neighbours.shares, truth, atol=0.02, rtol=0)


def test_the_shares_are_likeliest_where_some_components_are_closed() -> None:
    """Of a history shorter than K only some components are open, whose shares fill the sum."""
    generator = torch.Generator().manual_seed(0)
    evidence = torch.rand(4000, 3, generator=generator).pow(4)
    evidence[:3000, 1] = -1.0
    evidence[2000:, 2] = -1.0
    neighbours = made()
    neighbours.fit(evidence)

    def likelihood(shares: torch.Tensor) -> float:
        each = shares * (evidence >= 0)
        return float((each / each.sum(1, keepdim=True) * evidence).sum(1).log().mean())

    best = likelihood(neighbours.shares)
    for near in (0.98 * torch.eye(3) + 0.02 / 3, 0.02 * torch.eye(3)):
        for other in near:
            moved = neighbours.shares + 0.03 * (other / other.sum() - neighbours.shares)
            assert likelihood(moved) <= best + 1e-6


def test_neighbours_that_say_nothing_of_the_targets_get_no_share() -> None:
    neighbours = made()
    neighbours.fit(torch.tensor([[0.2, 0.0, -1.0], [0.1, 0.0, 0.0], [0.3, 0.0, 0.0]]))
    torch.testing.assert_close(neighbours.shares, torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize("closed", [0, 3])
def test_scores_that_know_no_target_still_rank_where_there_are_no_neighbours(closed: int) -> None:
    neighbours = made()
    none_open = torch.tensor([[0.0, -1.0, -1.0]]).repeat(closed, 1)
    neighbours.fit(torch.cat([torch.tensor([[0.0, 0.5, 0.2]]), none_open]))
    torch.testing.assert_close(neighbours.shares.sum(), torch.tensor(1.0))
    scores = torch.randn(1, N)
    found = neighbours(scores, torch.tensor([[5, 0]]), bank())  # 5 has no vector
    torch.testing.assert_close(found, scores.log_softmax(-1))


@pytest.mark.parametrize("mode", ["full", "uni4"])
def test_only_targets_choose_shares(toy: Any, mode: str) -> None:
    """RecBole's sampled modes put drawn items beside each target."""
    text = make_table("item_text", [f"i{n}" for n in range(1, 21)])
    made = toy(
        tables={"item_text_table": text}, n_neighbour_items=2, stages=["pretrain_sasrec"],
        eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode},
    )  # fmt: skip
    _, valid, _ = data_preparation(made.config, create_dataset(made.config))
    rows = torch.cat([of_targets(batch, valid)["item_id"] for batch, *_ in valid])
    targets = made.valid.inter_feat["item_id"]
    assert rows.sort().values.tolist() == targets.sort().values.tolist()


@pytest.mark.parametrize("exclude_history", [False, True])
def test_a_training_chooses_shares_and_hands_on_nothing_worse(
    toy: Any, exclude_history: bool
) -> None:
    text = make_table("item_text", [f"i{n}" for n in range(1, 21)])
    toy_data = toy(
        tables={"item_text_table": text}, n_neighbour_items=2, encoder_content=True,
        stages=["pretrain_sasrec"], exclude_history=exclude_history,
    )  # fmt: skip
    trainer = toy_data.new_trainer()
    score, _ = trainer.fit(toy_data.loaders[0], toy_data.loaders[1], verbose=False)
    assert score >= trainer.results[-1].score
    assert trainer.model.neighbours.shares.sum() == pytest.approx(1.0, abs=1e-5)
    again, _ = trainer._valid_epoch(toy_data.loaders[1])
    assert again == pytest.approx(score)
