"""The ensemble: standardised scores, weights from validation data, one RecBole model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model
from recbole.utils import get_model, get_trainer

from tests.conftest import Toy
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import HISTORY_END, HISTORY_START
from ur4rec_recbole.evaluation import protocols, ranking
from ur4rec_recbole.model.ensemble import combine, standardise
from ur4rec_recbole.training import ensemble
from ur4rec_recbole.training.ensemble import weigh


def test_standardised_scores_leave_padding_and_excluded_items_out_of_the_mean() -> None:
    scores = torch.tensor([[99.0, 1.0, 3.0, -torch.inf]])
    found = standardise(scores)
    torch.testing.assert_close(found[0, 1:3], torch.tensor([-1.0, 1.0]))
    assert found[0, 3] == -torch.inf


def test_an_item_that_a_member_excludes_ranks_last() -> None:
    scores = torch.tensor([[[0.0, 1.0, -torch.inf]], [[0.0, -1.0, 9.0]]])
    assert combine(scores, torch.tensor([0.5, 0.5])).argmin().item() == 2
    assert combine(scores, torch.tensor([1e-7, 1.0]))[0, 2] == -torch.inf


def test_a_member_without_weight_is_not_heard() -> None:
    scores = torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, -torch.inf, torch.nan]]])
    torch.testing.assert_close(combine(scores, torch.tensor([1.0, 0.0])), scores[0])


def drawn(n_rows: int, *strengths: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return standard normal scores [M, R, 40] that favour the targets [R] so much each."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(1, 40, (n_rows,), generator=generator)
    scores = torch.randn(len(strengths), n_rows, 40, generator=generator)
    truth = torch.nn.functional.one_hot(targets, 40)
    return scores + torch.tensor(strengths).view(-1, 1, 1) * truth, targets


def test_weights_follow_what_members_know() -> None:
    """For normal scores shifted by s at the target, the best weights are in proportion to s."""
    weights = weigh(*drawn(4000, 2.0, 1.0, 0.0), list("abc"))
    assert weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 1 / 3, 0.0]), atol=0.04, rtol=0)


def test_members_of_one_kind_share_a_weight() -> None:
    weights = weigh(*drawn(4000, 3.0, 1.0, 1.0), list("aba"))
    assert weights[0] == weights[2]
    # The mean of the first kind favours targets by 2 at a variance of 1/2, the other by 1 at 1.
    torch.testing.assert_close(weights, torch.tensor([0.4, 0.2, 0.4]), atol=0.03, rtol=0)


def test_a_member_that_misleads_gets_no_weight() -> None:
    assert weigh(*drawn(500, 1.0, -1.0), list("ab")).tolist() == [1.0, 0.0]


def test_members_that_know_nothing_weigh_the_same() -> None:
    assert weigh(*drawn(500, -1.0, -1.0), list("ab")).tolist() == [0.5, 0.5]


def test_weights_are_found_where_members_exclude_items() -> None:
    scores, targets = drawn(1000, 2.0, 1.0)
    scores[1, torch.arange(1000), targets % 39 + 1] = -torch.inf  # never a target's own item
    scores[0, 0, targets[0]] = -torch.inf  # a target that cannot be reached
    torch.testing.assert_close(
        weigh(scores, targets, list("ab"))[0].item(), 2 / 3, atol=0.08, rtol=0
    )


def test_targets_told_apart_perfectly_have_finite_weights() -> None:
    weights = weigh(*drawn(5, 9.0, 0.0), list("ab"))
    assert torch.isfinite(weights).all()
    assert weights[0] > weights[1]


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
    own = {"valid_metric": "NDCG@10", "MAX_ITEM_LIST_LENGTH": 5}
    config = Config("EASE", "toy", config_dict=shared | split | own)
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
    ranks = ranking.rank(expected, made.rows()["item_id"])
    assert protocols.metrics(ranks, made.config)["ndcg@10"] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3])
def test_more_scores_than_may_be_held_are_those_of_every_nth_batch(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    made = build(trained | {"eval_batch_size": 2})
    trainer, targets = made.new_trainer(), made.valid.inter_feat["item_id"]
    whole = 2 * len(targets) * made.train.item_num  # scores of the two members
    monkeypatch.setattr(ensemble, "HELD", int(share * whole) + 1)
    found = trainer._collect(made.loaders[1])
    every = {1.0: 1, 0.5: 2, 0.3: 4}[share]
    expected = torch.cat(targets.split(2)[::every])
    assert torch.equal(found[1], expected)
    assert found[0].shape == (2, len(expected), made.train.item_num)


@pytest.mark.parametrize("length", [5, 7])
def test_nothing_that_a_user_has_ever_had_is_recommended(
    trained: dict[str, Any], length: int
) -> None:
    """Neither what lies before the lists of the ensemble nor before those of its members, of 5."""
    made = build(trained | {"MAX_ITEM_LIST_LENGTH": length})
    model = get_model("UR4RecEnsemble")(made.config, made.train).eval()
    rows = made.rows()
    scores = model.full_sort_predict(rows)
    spans = zip(rows[HISTORY_START].tolist(), rows[HISTORY_END].tolist(), strict=True)
    histories = [made.train.interactions["item_id"][slice(*span)] for span in spans]
    assert max(map(len, histories)) > length
    for row, history in enumerate(histories):
        assert (scores[row, history] < -1e5).all()


def test_an_ensemble_of_nothing_is_refused(trained: dict[str, Any]) -> None:
    made = build(trained | {"members": []})
    with pytest.raises(InputError, match="members must name at least one"):
        get_model("UR4RecEnsemble")(made.config, made.train)


def test_a_member_of_another_split_is_refused(trained: dict[str, Any]) -> None:
    other = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user", "mode": "full"}
    made = build(trained | {"eval_args": other})
    with pytest.raises(InputError, match="eval_args of UR4Rec must be that of the ensemble"):
        get_model("UR4RecEnsemble")(made.config, made.train)
