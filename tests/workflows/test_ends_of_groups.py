"""How several processes begin and end: Ctrl-C, a death, bad data; and torchrun starts them."""

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

from tests.workflows.conftest import SETTINGS, curve, weights
from ur4rec_recbole import run
from ur4rec_recbole.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("described_toy")


def command(*more: str, **settings: Any) -> list[str]:
    given = [f"--{key}={value}" for key, value in (SETTINGS | settings).items()]
    return ["train", "--model=UR4Rec", "--dataset=toy", *given, *more]


def start(words: list[str], launcher: str = "ur4rec_recbole") -> subprocess.Popen:
    """Start a program beside this one, its output in the files out and err."""
    with Path("out").open("wb") as out, Path("err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", launcher, *words], stdout=out, stderr=err,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # hears Ctrl-C
        )  # fmt: skip


def wait_for(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not seen() and time.monotonic() < end:
        time.sleep(0.05)
    assert seen(), Path("err").read_text()[-2000:]


def test_ctrl_c_ends_both_and_the_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Each process draws its own dropout, and goes on with it."""
    drawing = SETTINGS | {"hidden_dropout_prob": 0.3, "epochs": 25, "stages": ["end_to_end"]}
    run("UR4Rec", "toy", config_dict=drawing | {"run_folder": "whole", "nproc": 2})
    started = start(command("--nproc", "2", **drawing, run_folder="cut"))
    wait_for(Path("cut/resume.pth").exists)
    group = psutil.Process(started.pid).children()
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 128 + signal.SIGINT
    assert "go on with: ur4rec train --resume cut" in Path("err").read_text()
    assert "Traceback" not in Path("err").read_text()
    assert not psutil.wait_procs(group, 10)[1]
    assert RunFolder.open("cut").about["status"] == "interrupted"
    run(resume="cut")
    assert curve("cut") == curve("whole")
    for name, expected in weights("whole").items():
        assert torch.equal(weights("cut")[name], expected), name


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other() -> None:
    started = start(command(run_folder="run", epochs=500, nproc=2))
    wait_for(Path("run/resume.pth").exists)
    group = psutil.Process(started.pid).children()
    os.kill(max(each.pid for each in group), signal.SIGKILL)
    assert started.wait(60) != 0
    assert not psutil.wait_procs(group, 10)[1]
    assert RunFolder.open("run").about["status"] in ("failed", "interrupted")


@pytest.mark.slow
def test_a_stage_whose_numbers_overflow_ends_in_both() -> None:
    started = start(command(run_folder="run", learning_rate=1e25, nproc=2))
    assert started.wait(90) == 0, Path("err").read_text()[-2000:]
    found = [each["name"] for each in RunFolder.open("run").findings()]
    assert "not_finite" in found
    assert [each["stage"] for each in RunFolder.open("run").read("stages.json")] == [
        "pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end"
    ]  # fmt: skip


def test_bad_data_are_one_message() -> None:
    Path("text.npz").write_bytes(b"no table")
    started = start(command(run_folder="run", nproc=2))
    assert started.wait(90) == 2
    assert Path("err").read_text().count("ur4rec train: ") == 1
    assert "text.npz" in Path("err").read_text()
    assert "Traceback" not in Path("err").read_text()


@pytest.mark.slow
def test_torchrun_starts_them_too() -> None:
    words = ["--nproc-per-node=2", "--standalone", "-m", "ur4rec_recbole"]
    started = start(words + command(run_folder="run", epochs=1), "torch.distributed.run")
    assert started.wait(120) == 0, Path("err").read_text()[-2000:]
    about = RunFolder.open("run").about
    assert (about["status"], about["config"]["world_size"]["value"]) == ("done", 2)
    assert [row["stage"] for row in RunFolder.open("run").epochs()] == [
        "pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end"
    ]  # fmt: skip


@pytest.mark.slow
def test_recboles_own_launcher_starts_them_too() -> None:
    program = f"""
import ur4rec_recbole
from recbole.quick_start import run

if __name__ == "__main__":
    settings = {SETTINGS | {"epochs": 1}}
    print(run("UR4Rec", "toy", config_dict=settings, nproc=2)["test_result"]["hit@10"])
"""
    Path("program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 <= float(done.stdout.splitlines()[-1]) <= 1
    assert len(list(Path("saved").glob("UR4Rec-*.pth"))) == 1
