"""Resume of RecBole's own models: a killed run ends with the weights of one that was not."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from recbole.trainer import Trainer

from tests.conftest import sequences, write_atomic_files
from tests.killing import die, dying_at
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import benchmark_job
from ur4rec_recbole.runs import quick_start, resuming
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.training import resume

EPOCHS = 4
STEPS = 3  # of an epoch: twelve users' eleven rows each, in batches of 64
HISTORIES = sequences([14] * 12, n_items=400)


def settings(folder: Path, run: str) -> dict[str, Any]:
    write_atomic_files(folder, HISTORIES)
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "hidden_size": 8,
        "inner_size": 8,
        "n_heads": 2,
        "hidden_dropout_prob": 0.3,
        "train_batch_size": 64,
        "epochs": EPOCHS,
        "topk": [10],
        "valid_metric": "NDCG@10",
        "show_progress": False,
        "checkpoint_dir": str(folder / run / "checkpoints"),
        "run_folder": str(folder / run),
    }


def train_and_die(model: str, values: dict[str, Any], patch: pytest.MonkeyPatch, at: Any) -> None:
    die(lambda: quick_start.run(model, "toy", config_dict=values), patch, at)


def best_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pth", weights_only=False)["state_dict"]


def curve(folder: Path) -> list[tuple[float, ...]]:
    columns = ("epoch", "loss", "valid_score", "full_masked_ndcg@10")
    return [tuple(row[each] for each in columns) for row in RunFolder.open(folder).epochs()]


STEP, SAVE, VALIDATION = (Trainer, "_check_nan"), (torch, "save"), (Trainer, "_valid_epoch")


@pytest.mark.parametrize(
    ("model", "at"),
    [
        ("SASRec", dying_at(*STEP, 2 * STEPS + 2)),
        ("SASRec", dying_at(*SAVE, 4)),  # RecBole's best model or resume.pth half written
        ("SASRec", dying_at(*VALIDATION, EPOCHS)),
        ("SASRec", dying_at(quick_start, "final_table", 1)),  # nothing is left to train
        ("BERT4Rec", dying_at(*VALIDATION, 3)),  # masks drawn by the loader
        ("FEARec", dying_at(*VALIDATION, 3)),  # another sequence of the same target drawn
    ],
)
def test_a_killed_run_ends_as_an_uninterrupted_one(
    model: str, at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = settings(tmp_path, "whole")
    expected = quick_start.run(model, "toy", config_dict=whole)
    killed = settings(tmp_path, "killed")
    train_and_die(model, killed, monkeypatch, at)
    before = RunFolder.open(killed["run_folder"])
    assert before.about["status"] == "running" and 1 <= len(before.epochs())
    found = quick_start.run(resume=killed["run_folder"])
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    left, right = best_weights(tmp_path / "whole"), best_weights(tmp_path / "killed")
    assert all(torch.equal(value, right[key]) for key, value in left.items())
    for key in ("valid", "test", "best_valid_score"):
        assert found[key] == expected[key]


def test_a_training_stopped_early_is_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = settings(tmp_path, "killed") | {"stopping_step": 0, "epochs": 50}
    train_and_die("SASRec", values, monkeypatch, dying_at(quick_start, "final_table", 1))
    stopped = curve(tmp_path / "killed")
    assert len(stopped) < 50
    best = best_weights(tmp_path / "killed")
    quick_start.run(resume=values["run_folder"])
    assert curve(tmp_path / "killed") == stopped
    after = best_weights(tmp_path / "killed")
    assert all(torch.equal(value, after[key]) for key, value in best.items())
    assert RunFolder.open(tmp_path / "killed").about["status"] == "done"


def test_a_run_killed_in_its_first_epoch_has_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = settings(tmp_path, "killed")
    train_and_die("SASRec", values, monkeypatch, dying_at(*VALIDATION, 1))
    assert not (tmp_path / "killed" / resume.FILE).exists()
    with pytest.raises(InputError, match="sequential models with resume.pth"):
        quick_start.run(resume=values["run_folder"])


def test_too_small_a_disk_is_reported_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = settings(tmp_path, "run")
    whole = quick_start.run("SASRec", "toy", config_dict=values)
    weights = torch.load(whole["model_file"], weights_only=False)["state_dict"]
    needed = 12 * sum(each.numel() * 4 for each in weights.values())
    other = settings(tmp_path, "other")
    monkeypatch.setattr(psutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(InputError, match="Make room"):
        quick_start.run("SASRec", "toy", config_dict=other)
    assert RunFolder.open(tmp_path / "other").epochs() == []
    assert RunFolder.open(tmp_path / "other").about["status"] == "failed"
    enough = settings(tmp_path, "enough")
    monkeypatch.setattr(psutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    quick_start.run("SASRec", "toy", config_dict=enough)


def pretrained_job(folder: Path) -> dict[str, Any]:
    """Return a benchmark's job of S3Rec: three epochs of pretraining, then a usual training."""
    values = settings(folder, "unused") | {"train_stage": "finetune"}
    values["load_col"]["item"] = ["item_id", "class"]
    items = sorted({item for items in HISTORIES.values() for item in items})
    lines = [f"{item}\t{'ab'[place % 2]} c" for place, item in enumerate(items)]
    (folder / "toy" / "toy.item").write_text(
        "\n".join(["item_id:token\tclass:token_seq", *lines]) + "\n"
    )
    return {
        "model": "S3Rec", "dataset": "toy", "config_files": [], "settings": values,
        "pretrain": {"train_stage": "pretrain", "pretrain_epochs": 3, "save_step": 3},
    }  # fmt: skip


@pytest.mark.parametrize("validations", [1, 3])
def test_a_pretraining_that_ended_is_not_done_again(
    validations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, whole, killed = pretrained_job(tmp_path), tmp_path / "whole", tmp_path / "killed"
    benchmark_job.run(job, whole)
    at = dying_at(*VALIDATION, validations)
    die(lambda: benchmark_job.run(job, killed), monkeypatch, at)
    first = benchmark_job.pretraining(killed)
    before = {file.name: file.read_bytes() for file in first.iterdir() if file.is_file()}
    if not resuming.unfinished(killed):
        shutil.rmtree(killed)  # as a benchmark does
    benchmark_job.run(job, killed)
    assert {file.name: file.read_bytes() for file in first.iterdir() if file.is_file()} == before
    assert curve(killed) == curve(whole)
    spent = [RunFolder.open(folder).read("metrics.json")["seconds"] for folder in (first, killed)]
    assert RunFolder.open(killed).read("metrics.json")["wall_seconds"] > sum(spent)


@pytest.mark.parametrize("steps", [2 * STEPS + 2, 3 * STEPS])
def test_a_pretraining_that_was_killed_goes_on(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, whole, killed = pretrained_job(tmp_path), tmp_path / "whole", tmp_path / "killed"
    benchmark_job.run(job, whole)
    die(lambda: benchmark_job.run(job, killed), monkeypatch, dying_at(*STEP, steps))
    first = benchmark_job.pretraining(killed)
    before = RunFolder.open(first).epochs()
    assert len(before) == 2
    benchmark_job.run(job, killed)
    assert RunFolder.open(first).epochs() == before
    assert curve(killed) == curve(whole)
    left, right = best_weights(whole), best_weights(killed)
    assert all(torch.equal(value, right[key]) for key, value in left.items())
