"""How runs end: by Ctrl-C, SIGTERM, a full or removed folder, or beside another process."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import SMALL, sequences, write_atomic_files
from tests.permissions import permissions_count
from ur4rec_recbole import InputError, run
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.files import exclusive_lock
from ur4rec_recbole.core.processes import Terminated
from ur4rec_recbole.monitoring.monitor import Monitor
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.keeping import Pruned

SETTINGS: dict[str, Any] = SMALL | {
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "run_folder": "run",
    "epochs": 2,
}


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path) -> None:
    write_atomic_files(tmp_path, sequences([14] * 12, n_items=400))


def words(**settings: Any) -> list[str]:
    return ["train", "--model=UR4Rec", "--dataset=toy"] + [
        f"--{key}={value}" for key, value in (SETTINGS | settings).items()
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_one_line_and_the_run_can_go_on(
    number: int, code: int
) -> None:
    command = [sys.executable, "-m", "ur4rec_recbole", *words(epochs=500)]
    with Path("out").open("wb") as out, Path("err").open("wb") as err:
        started = subprocess.Popen(command, stdout=out, stderr=err)
        end = time.monotonic() + 60
        while not Path("run/resume.pth").exists() and time.monotonic() < end:
            time.sleep(0.02)
        started.send_signal(number)
        assert started.wait(60) == code
    error = Path("err").read_text()
    assert "Traceback" not in error
    assert "ur4rec train: interrupted; go on with: ur4rec train --resume run" in error
    assert RunFolder.open("run").about["status"] == "interrupted"
    with exclusive_lock("run/.lock", InputError("", "", "", "")):
        pass
    assert not list(Path("run").glob(".*.tmp"))


@pytest.mark.parametrize("ending", [KeyboardInterrupt, Terminated])
def test_an_interrupted_run_goes_on_to_its_end(
    ending: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    calls, step = 0, Monitor.step

    def stop(self: Any, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise ending
        step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", stop)
        assert main(words()) == (143 if ending is Terminated else 130)
    assert "--resume run" in capsys.readouterr().err
    assert RunFolder.open("run").about["status"] == "interrupted"
    assert main(["train", "--resume", "run"]) == 0
    assert RunFolder.open("run").about["status"] == "done"


def test_ctrl_c_before_a_run_begins_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ur4rec_recbole.runs.quick_start.load_data", stop)
    assert main(words()) == 130
    assert capsys.readouterr().err.endswith("ur4rec train: interrupted\n")
    assert not Path("run").exists()


def test_a_folder_that_is_removed_meanwhile_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    begins = Monitor.begin

    def removing(self: Any, stages: Any, index: int, steps: int) -> None:
        if index == 1:
            for file in Path("run").iterdir():
                file.unlink()
            Path("run").rmdir()
        begins(self, stages, index, steps)

    monkeypatch.setattr(Monitor, "begin", removing)
    with pytest.raises(InputError, match="must stay while the run goes on.*was removed"):
        run("UR4Rec", "toy", config_dict=SETTINGS)
    assert not Path("run").exists()


def test_a_read_only_place_is_a_message() -> None:
    Path("closed").mkdir(mode=0o500)
    with permissions_count(), pytest.raises(InputError, match="can be written to"):
        run("UR4Rec", "toy", config_dict=SETTINGS | {"run_folder": "closed/run"})


def test_a_run_that_cannot_even_begin_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(words()) == 2
    assert "run/run.json" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_place_that_becomes_read_only_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    add, calls = RunFolder.add_epoch, 0

    def refuse(self: RunFolder, row: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(30, "Read-only file system")
        add(self, row)

    monkeypatch.setattr(RunFolder, "add_epoch", refuse)
    with pytest.raises(InputError, match="Read-only file system.*ur4rec train --resume run"):
        run("UR4Rec", "toy", config_dict=SETTINGS)
    assert RunFolder.open("run").about["status"] == "failed"


def test_a_second_process_is_refused_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    run("UR4Rec", "toy", config_dict=SETTINGS)
    RunFolder.open("run").mark("interrupted")
    monkeypatch.setattr(
        "ur4rec_recbole.runs.quick_start.build_trainer", lambda *_: pytest.fail("a trainer")
    )
    with (
        exclusive_lock("run/.lock"),
        pytest.raises(InputError, match="that another process writes to"),
    ):
        run(resume="run")


def test_a_folder_of_other_files_is_refused_and_kept() -> None:
    Path("run").mkdir()
    Path("run/epochs.csv").write_text("mine")
    with pytest.raises(InputError, match="must be a new or empty folder.*epochs.csv"):
        run("UR4Rec", "toy", config_dict=SETTINGS)
    assert [file.name for file in Path("run").iterdir()] == ["epochs.csv"]
    assert Path("run/epochs.csv").read_text() == "mine"


def test_an_empty_folder_is_taken() -> None:
    Path("run").mkdir()
    assert run("UR4Rec", "toy", config_dict=SETTINGS).folder == Path("run")


def test_what_a_kill_left_half_written_is_removed_and_nothing_else() -> None:
    run("UR4Rec", "toy", config_dict=SETTINGS)
    RunFolder.open("run").mark("running")
    left = (".resume.pth.abcd1234.tmp", ".run.json.a_b_c_d_.tmp", ".1-end_to_end.pth.00000000.tmp")
    others = (".notes.txt.abcd1234.tmp", ".resume.pth.tmp", "mine.tmp")
    for name in (*left, *others):
        (Path("run") / name).write_text("")
    run(resume="run")
    names = {file.name for file in Path("run").iterdir()}
    assert names >= set(others) and not names & set(left)


def test_the_state_names_no_file_that_is_written() -> None:
    run("UR4Rec", "toy", config_dict=SETTINGS)
    RunFolder.open("run").mark("running")
    Path("precious").write_text("precious")
    state = torch.load("run/resume.pth", weights_only=True)
    torch.save(state | {"saved_model_file": "precious"}, "run/resume.pth")
    result = run(resume="run")
    assert result["model_file"] == "run/model.pth"
    assert Path("precious").read_text() == "precious"


@pytest.mark.parametrize(
    "change",
    [
        {"stage_index": 17}, {"stage_index": -1}, {"stage_index": "a"}, {"model": {}},
        {"optimizer": {"a": 1}}, {"random": {}}, {"results": [{"x": 1}]}, {"monitor": [1]},
        {"best_valid_score": "high"}, {"_best_state": 5}, {"findings": [{"nome": 1}]},
    ],
)  # fmt: skip
def test_a_damaged_state_is_a_message(change: dict[str, Any], finished: Path) -> None:
    state = torch.load(finished / "resume.pth", weights_only=True)
    torch.save(state | change, finished / "resume.pth")
    with pytest.raises(InputError, match="resume.pth"):
        run(resume=str(finished))


def test_a_state_that_is_a_list_is_a_message(finished: Path) -> None:
    torch.save([1], finished / "resume.pth")
    with pytest.raises(InputError, match="must be a mapping"):
        run(resume=str(finished))


@pytest.fixture
def finished() -> Path:
    run("UR4Rec", "toy", config_dict=SETTINGS | {"stages": ["pretrain_sasrec"]})
    RunFolder.open("run").mark("running")
    return Path("run")


@pytest.mark.parametrize("model", ["UR4Rec", "GRU4Rec"])
def test_a_callback_hears_of_epochs_that_are_written_and_may_end_the_run(model: str) -> None:
    own = {} if model == "UR4Rec" else {"hidden_size": 8, "train_neg_sample_args": None}
    shared = {key: SETTINGS[key] for key in ("data_path", "load_col", "run_folder")}
    settings = (SETTINGS if model == "UR4Rec" else shared) | own | {"epochs": 5}
    told: list[tuple[int, int]] = []

    def judge(epoch: int, score: float) -> None:
        last = RunFolder.open("run").epochs()[-1]
        assert last["valid_score"] == pytest.approx(score)
        told.append((epoch, last["epoch"]))
        if epoch == 1:
            raise Pruned("enough")

    with pytest.raises(Pruned, match="enough"):
        run(model, "toy", None, settings, callback_fn=judge)
    assert told == [(0, 1), (1, 2)]
    assert RunFolder.open("run").about["status"] == "pruned"
