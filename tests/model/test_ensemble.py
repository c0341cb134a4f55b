"""The ensemble: standardised scores, weights from validation data, one RecBole model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model
from recbole.utils import get_model, get_trainer

from tests.conftest import Toy
from ur4rec_recbole import evaluation
from ur4rec_recbole.errors import InputError
from ur4rec_recbole.model.ensemble import combine, standardise
from ur4rec_recbole.trainer.ensemble import select


def test_standardised_scores_leave_padding_and_excluded_items_out_of_the_mean() -> None:
    scores = torch.tensor([[99.0, 1.0, 3.0, -torch.inf]])
    found = standardise(scores)
    torch.testing.assert_close(found[0, 1:3], torch.tensor([-1.0, 1.0]))
    assert found[0, 3] == -torch.inf


def test_an_item_that_a_member_excludes_ranks_last() -> None:
    scores = torch.tensor([[[0.0, 1.0, -torch.inf]], [[0.0, -1.0, 9.0]]])
    assert combine(scores, torch.tensor([0.5, 0.5])).argmin().item() == 2


def test_a_member_without_weight_is_not_heard() -> None:
    scores = torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, -torch.inf, torch.nan]]])
    torch.testing.assert_close(combine(scores, torch.tensor([1.0, 0.0])), scores[0])


def hits(ranks: np.ndarray) -> float:
    return float((ranks == 1).mean())


def test_selection_finds_the_one_member_that_knows() -> None:
    targets = torch.tensor([1, 2, 3])
    good = torch.nn.functional.one_hot(targets, 5).float()
    weights, path = select(torch.stack([1 - good, good]), targets, hits, rounds=5)
    assert weights.tolist() == [0.0, 1.0]
    assert path == [1.0]


def test_selection_joins_members_that_are_right_about_different_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([1, 2, 3, 4])
    truth = torch.nn.functional.one_hot(targets, 6).float()
    sure = torch.tensor([3.0, 3.0, 0.0, 0.0]).unsqueeze(1)
    noise = torch.rand(2, 4, 6, generator=generator)
    scores = torch.stack([sure * truth, (3 - sure) * truth]) + noise
    weights, path = select(scores, targets, hits, rounds=10)
    assert (weights > 0).all()
    assert path[-1] == max(path) == 1.0


def test_selection_goes_on_where_a_half_is_too_much() -> None:
    """Member 1 is right where member 0 is nearly tied, and harmful at a weight of a half."""
    truth = torch.tensor([[0.0, 3.0, 0.0], [0.0, 1.0, 1.1]])
    other = torch.tensor([[0.0, 0.0, 4.0], [0.0, 2.0, 0.0]])
    targets = torch.tensor([1, 1])
    weights, path = select(torch.stack([truth, other]), targets, hits, rounds=10)
    assert path[0] == 0.5
    assert path[-1] == 1.0
    assert weights[0] > 0.5


@pytest.fixture
def trained(toy: Any, tmp_path: Path) -> dict[str, Any]:
    """Train a UR4Rec and an EASE on the same toy data; return the ensemble's settings."""
    first = toy(exclude_history=True)
    trainer = first.new_trainer()
    trainer.fit(*first.loaders[:2])
    folder = first.config["data_path"].rsplit("/", 1)[0]
    shared = {
        "data_path": folder,
        "state": "ERROR",
        "topk": [5, 10],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }
    split = {"eval_args": first.config["eval_args"], "repeatable": True}
    config = Config("EASE", "toy", config_dict=shared | split | {"valid_metric": "NDCG@10"})
    other = Toy(config, data := create_dataset(config), data_preparation(config, data))
    ease = get_trainer(config["MODEL_TYPE"], "EASE")(config, other.model)
    ease.fit(*other.loaders[:2])
    return shared | {"members": [trainer.saved_model_file, ease.saved_model_file]}


def build(settings: dict[str, Any]) -> Toy:
    config = Config("UR4RecEnsemble", "toy", config_dict=dict(settings))
    data = create_dataset(config)
    return Toy(config, data, data_preparation(config, data))


def test_an_ensemble_of_a_sequential_and_a_general_model_is_one_recbole_model(
    trained: dict[str, Any],
) -> None:
    made = build(trained)
    trainer = made.new_trainer()
    best, _ = trainer.fit(*made.loaders[:2])
    expected = made.model.full_sort_predict(made.rows())
    for file in trained["members"]:
        Path(file).unlink()  # a saved ensemble carries its members
    _, model, *_ = load_data_and_model(trainer.saved_model_file)
    torch.testing.assert_close(model.eval().full_sort_predict(made.rows()), expected)
    targets = made.rows()["item_id"]
    for scores in made.model.member_scores(made.rows()):
        alone = evaluation.metrics(evaluation.rank(scores, targets), made.config)["ndcg@10"]
        assert best >= alone - 1e-4  # RecBole rounds to four places


def test_an_ensemble_of_nothing_is_refused(trained: dict[str, Any]) -> None:
    made = build(trained | {"members": []})
    with pytest.raises(InputError, match="members must name at least one"):
        get_model("UR4RecEnsemble")(made.config, made.train)


def test_a_member_of_another_split_is_refused(trained: dict[str, Any]) -> None:
    other = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user", "mode": "full"}
    made = build(trained | {"eval_args": other})
    with pytest.raises(InputError, match="eval_args of UR4Rec must be that of the ensemble"):
        get_model("UR4RecEnsemble")(made.config, made.train)
