"""Training on all interactions, as a run with validation has settled it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole import Recommender, load, run
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model import saved
from ur4rec_recbole.model.new_items import NewItems
from ur4rec_recbole.model.rare_items import RareItems
from ur4rec_recbole.runs import on_all
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.on_all import train_on_all

ITEMS = [f"i{n}" for n in range(1, 21)]


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    make_table("item_text", ITEMS).save("text.npz")
    write_atomic_files(folder, sequences())
    return {
        **SMALL, "data_path": str(folder), "item_text_table": "text.npz", "run_folder": "run",
        "stages": ["pretrain_sasrec", "pretrain_retriever"], "n_neighbour_items": 2,
        "exclude_history": True, "allow_unknown_tokens": True, "epochs": 3, **more,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }  # fmt: skip


def best_epochs(folder: str) -> dict[str, int]:
    read = json.loads(Path(folder, "stages.json").read_text())
    return {each["stage"]: each["best_epoch"] for each in read}


def test_everything_is_trained_on_for_the_best_number_of_epochs(tmp_path: Path) -> None:
    found = run("UR4Rec", "toy", config_dict=settings(tmp_path, request_time=True))
    best = {stage: epoch for stage, epoch in best_epochs("run").items() if epoch}
    every = train_on_all(Path("run"))
    assert every.folder == Path("run-all")
    trained = json.loads(Path("run-all", "stages.json").read_text())
    assert {each["stage"]: each["epochs"] for each in trained} == best
    before, now = load("run"), load("run-all")
    rows = now.train.interactions["user_id"]
    repeated = rows.bincount()[rows] > 1  # of a single interaction nothing can be predicted
    assert now.train.seen_rows().tolist() == repeated.nonzero().squeeze(1).tolist()
    assert len(before.train.seen_rows()) < len(now.train.seen_rows())
    assert now.model.score == found.model.score
    shares = before.model.neighbours.shares
    checkpoint = torch.load("run-all/model.pth", weights_only=False)["state_dict"]
    assert torch.equal(now.model.neighbours.shares, shares)
    assert torch.equal(checkpoint["neighbours.shares"], shares)
    assert now.model.trend.told() == before.model.trend.told()
    assert Recommender.load("run-all").recommend(["i1", "i2"]).items


def test_shares_of_neighbours_that_are_told_are_not_chosen_anew(tmp_path: Path) -> None:
    told = torch.tensor([0.5, 0.3, 0.2])
    run("UR4Rec", "toy", config_dict=settings(tmp_path, neighbour_shares=told.tolist()))
    train_on_all(Path("run"))
    for folder in ("run", "run-all"):
        assert torch.equal(load(folder).model.neighbours.shares, told)


def test_a_trend_that_is_told_is_not_chosen_anew(tmp_path: Path) -> None:
    told = {"request_time": True, "trend_choice": [20.0, 0.5, 0.75]}
    run("UR4Rec", "toy", config_dict=settings(tmp_path, **told))
    train_on_all(Path("run"))
    before, now = load("run").model.trend, load("run-all").model.trend
    for each in (before, now):
        assert [float(each.half_life), float(each.prior), float(each.weight)] == [20.0, 0.5, 0.75]
    assert now.end > before.end  # it has the newest interactions, too


def test_what_rare_and_new_items_gain_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RareItems, "fit", lambda self, _: self.choose(0.7))
    monkeypatch.setattr(NewItems, "fit", lambda self, _: self.choose(-0.3))
    asked = {"rare_item_cost": 1.0, "new_item_share": 0.2}
    run("UR4Rec", "toy", config_dict=settings(tmp_path, **asked))
    train_on_all(Path("run"))
    for folder in ("run", "run-all"):
        model = load(folder).model
        assert float(model.rare_items.boost) == pytest.approx(0.7)
        assert float(model.new_items.offset) == pytest.approx(-0.3)


def test_shares_of_another_run_are_not_taken_over(tmp_path: Path) -> None:
    told = [0.5, 0.3, 0.2]
    run("UR4Rec", "toy", config_dict=settings(tmp_path, neighbour_shares=[0.1, 0.5, 0.4]))
    given = settings(tmp_path, init_from="run", neighbour_shares=told, run_folder="second")
    run("UR4Rec", "toy", config_dict=given)
    assert load("second").model.neighbours.shares.tolist() == pytest.approx(told)


@pytest.mark.parametrize("shares", [[1.0, 0.0], [0.0, 0.5, 0.5], [0.5, -0.1, 0.6], [0.5, "x", 0.5]])
def test_shares_that_are_none_are_refused(tmp_path: Path, shares: list[Any]) -> None:
    with pytest.raises(InputError, match="neighbour_shares"):
        run("UR4Rec", "toy", config_dict=settings(tmp_path, neighbour_shares=shares))


def test_a_run_that_was_no_better_than_its_beginning_keeps_that(tmp_path: Path) -> None:
    given = settings(tmp_path, stages=["pretrain_sasrec"])
    run("UR4Rec", "toy", config_dict=given)
    stages = json.loads(Path("run", "stages.json").read_text())
    stages[0]["best_epoch"] = 0
    Path("run", "stages.json").write_text(json.dumps(stages))
    about = json.loads(Path("run", "run.json").read_text())
    about["config"]["init_from"] = {"value": "run", "origin": "user"}
    Path("run", "run.json").write_text(json.dumps(about))
    train_on_all(Path("run"))
    before, now = (saved.read(Path(name)).state_dict for name in ("run", "run-all"))
    assert torch.equal(before["encoder.input_norm.weight"], now["encoder.input_norm.weight"])
    assert torch.equal(before["score"], now["score"])


def test_a_retriever_that_a_later_stage_builds_on_is_trained_again() -> None:
    class Given:
        config = {"stages": ["pretrain_sasrec", "pretrain_retriever", "joint_finetune"]}

    told = [(4, 4), (0, 3), (2, 2)]
    results = [{"best_epoch": best, "kept_epoch": kept} for best, kept in told]
    found = on_all._stages(Given(), results)  # type: ignore[arg-type]
    assert [each["epochs"] for each in found] == [4, 3, 2]
    found = on_all._stages(Given(), [*results[:2], {"best_epoch": 0}])  # type: ignore[arg-type]
    assert [each["epochs"] for each in found] == [4]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "SASRec", "--train_neg_sample_args=None"], "UR4Rec"),
        (["--model", "UR4Rec", "--user_profile_table=profiles.npz"], "profiles"),
        (["--model", "UR4Rec", "--run_folder=taken"], "taken-all"),
        (["--model", "UR4Rec", "--benchmark_filename=['a','b','c']"], "eval_args"),
    ],
)
def test_what_cannot_be_repeated_is_refused_before_it_trains(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken-all").mkdir()
    Path("taken-all", "file").write_text("")
    assert main(["train", "--dataset", "toy", "--on", "all", *words]) == 2
    assert told in capsys.readouterr().err
    assert not Path("taken").exists() and not Path("runs").exists()


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"model": "SASRec"}, "UR4Rec"),
        ({"config": {"user_profile_table": {"value": "p.npz", "origin": "user"}}}, "profiles"),
        ({}, "taken-all"),
    ],
)
def test_a_run_that_cannot_be_repeated_does_not_go_on(
    toy: Any, about: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder.create("taken", toy().config)
    config = run.about["config"] | about.pop("config", {})
    run.about |= {"config": config, **about}
    run.mark("interrupted")
    Path("taken-all").mkdir()
    Path("taken-all", "file").write_text("")
    assert main(["train", "--on", "all", "--resume", "taken"]) == 2
    assert told in capsys.readouterr().err
