"""Several processes train what one process would, over gloo on the CPU."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole import load, run
from ur4rec_recbole.runs.folder import RunFolder

# 19 windows: of the last batch of 6 the second process has none.
LENGTHS = (14, 9, 12, 3, 14, 7, 11, 14, 14)
SETTINGS: dict[str, Any] = SMALL | {
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "item_text_table": "text.npz",
    "item_image_table": "image.npz",
    "epochs": 2,
    "learning_rate": 0.01,
    "retriever_learning_rate": 0.01,
    "train_batch_size": 6,
    "metric_decimal_place": 8,
    "sequence_loss": "softmax",
    "retrieval_loss": "softmax",
    "n_sub_experts": 3,
    "router_top_k": 2,
    "load_balance_weight": 0.1,
    "contrastive_weight": 0.1,
    "weight_decay": 0.01,
}
TIMES = ("seconds", "seconds_per_step", "elapsed", "peak_memory")


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path) -> None:
    write_atomic_files(tmp_path, sequences(LENGTHS))
    tokens = [f"i{n}" for n in range(1, 21)]
    make_table("item_text", tokens, 6, 1).save(tmp_path / "text.npz")
    make_table("item_image", tokens, 5, 2).save(tmp_path / "image.npz")


def curve(folder: str) -> list[tuple[str, dict[str, float]]]:
    """Return what the epochs came to, by stage, without what they took."""
    rows = [dict(row) for row in RunFolder.open(folder).epochs()]
    return [(row.pop("stage"), {k: row[k] for k in row if k not in TIMES}) for row in rows]


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(f"{folder}/model.safetensors")


def test_two_processes_train_as_one_does() -> None:
    run("UR4Rec", "toy", config_dict=SETTINGS | {"run_folder": "one"})
    two = run("UR4Rec", "toy", config_dict=SETTINGS | {"run_folder": "two", "nproc": 2})
    for (stage, alone), (same, together) in zip(curve("one"), curve("two"), strict=True):
        assert stage == same
        assert together == pytest.approx(alone, rel=1e-4), stage
    for name, before in weights("one").items():
        torch.testing.assert_close(weights("two")[name], before, rtol=1e-3, atol=1e-4)
    assert two.folder == Path("two") and two.model is None


def test_the_model_that_two_processes_trained_is_one_of_one_process() -> None:
    settings = SETTINGS | {"run_folder": "two", "nproc": 2, "stages": ["pretrain_sasrec"]}
    result = run("UR4Rec", "toy", config_dict=settings)
    about = RunFolder.open("two")
    assert about.about["config"]["world_size"]["value"] == 2
    assert about.settings()["nproc"] == 2 and "world_size" not in about.settings()
    for place in ("two", "two/model.pth"):
        loaded = load(place)
        assert loaded.config["single_spec"]
        torch.testing.assert_close(loaded.model.state_dict()["score"], torch.tensor(0))
    assert result["test"] == result.metrics["test"]
    assert [file.name for file in Path("log/UR4Rec").iterdir()] != []
    assert len(list(Path("log/UR4Rec").iterdir())) == 1
    assert len(list(Path("log_tensorboard").iterdir())) == 1


def command(*more: str, **settings: Any) -> list[str]:
    given = [f"--{key}={value}" for key, value in (SETTINGS | settings).items()]
    return ["train", "--model=UR4Rec", "--dataset=toy", *given, *more]


def start(words: list[str], launcher: str = "ur4rec_recbole") -> subprocess.Popen:
    """Start a program beside this one, its output in the files out and err."""
    with Path("out").open("wb") as out, Path("err").open("wb") as err:
        return subprocess.Popen([sys.executable, "-m", launcher, *words], stdout=out, stderr=err)


def wait_for(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not seen() and time.monotonic() < end:
        time.sleep(0.05)
    assert seen(), Path("err").read_text()[-2000:]


def test_ctrl_c_ends_both_and_the_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Each process draws its own dropout, and goes on with it."""
    drawing = SETTINGS | {"hidden_dropout_prob": 0.3, "epochs": 12, "stages": ["end_to_end"]}
    run("UR4Rec", "toy", config_dict=drawing | {"run_folder": "whole", "nproc": 2})
    started = start(command("--nproc", "2", **drawing, run_folder="cut"))
    wait_for(Path("cut/resume.pth").exists)
    group = psutil.Process(started.pid).children()
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 128 + signal.SIGINT
    assert "go on with: ur4rec train --resume cut" in Path("err").read_text()
    assert "Traceback" not in Path("err").read_text()
    assert not any(each.is_running() for each in group)
    assert RunFolder.open("cut").about["status"] == "interrupted"
    run(resume="cut")
    assert curve("cut") == curve("whole")
    for name, expected in weights("whole").items():
        assert torch.equal(weights("cut")[name], expected), name


def test_a_process_that_dies_ends_the_other() -> None:
    started = start(command(run_folder="run", epochs=500, nproc=2))
    wait_for(Path("run/resume.pth").exists)
    group = psutil.Process(started.pid).children()
    wait_for(lambda: len(group) >= 2)
    os.kill(max(each.pid for each in group), signal.SIGKILL)
    assert started.wait(60) != 0
    assert not any(each.is_running() for each in group)
    assert RunFolder.open("run").about["status"] in ("failed", "interrupted")


def test_bad_data_are_one_message() -> None:
    Path("text.npz").write_bytes(b"no table")
    started = start(command(run_folder="run", nproc=2))
    assert started.wait(90) == 2
    assert Path("err").read_text().count("item_text_table") == 1
    assert "Traceback" not in Path("err").read_text()


def test_torchrun_starts_them_too() -> None:
    words = ["--nproc-per-node=2", "--master-port=0", "-m", "ur4rec_recbole"]
    started = start(words + command(run_folder="run", epochs=1), "torch.distributed.run")
    assert started.wait(120) == 0, Path("err").read_text()[-2000:]
    about = RunFolder.open("run").about
    assert (about["status"], about["config"]["world_size"]["value"]) == ("done", 2)
    assert [row["stage"] for row in RunFolder.open("run").epochs()] == [
        "pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end"
    ]  # fmt: skip


def test_a_model_of_recbole_trains_as_recbole_has_it() -> None:
    settings = {"data_path": ".", "load_col": SETTINGS["load_col"], "epochs": 2, "nproc": 2,
                "train_neg_sample_args": None, "run_folder": "run", "state": "ERROR",
                "MAX_ITEM_LIST_LENGTH": 5}  # fmt: skip
    result = run("SASRec", "toy", config_dict=settings)
    assert 0 < result.metrics["test"]["full"]["ndcg@10"] < 1
    assert len(RunFolder.open("run").epochs()) == 2
    assert load("run").config["single_spec"]
