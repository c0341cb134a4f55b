"""`ur4rec tune`: a bad choice is pruned, and a search goes on however it ended."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SMALL, write_atomic_files
from tests.killing import die, dying_at
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import apart, search
from ur4rec_recbole.runs.folder import RunFolder

if importlib.util.find_spec("optuna") is None:
    pytest.skip(
        "Optuna is not installed: pip install ur4rec_recbole[tune]", allow_module_level=True
    )

from ur4rec_recbole.experiments import search_optuna, search_trial

REPOSITORY = str(Path(__file__).parents[2])
GOOD, BAD = "0.02", "1e-09"
TUNE = "tune --config-files toy.yaml --space space.yaml --startup 1 --warmup 1 --output out"
OUT = Path("out")


@pytest.fixture(autouse=True)
def _ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users who go round in a ring of items: a rate that learns nothing is worse at once."""
    ring = {f"u{n}": [f"i{(n + k) % 20}" for k in range(9)] for n in range(40)}
    write_atomic_files(tmp_path / "data", ring)
    settings = {
        "model": "UR4Rec", "dataset": "toy", "data_path": "data", "item_text_table": None,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "epochs": 6,
        "stages": ["pretrain_sasrec"],
    }  # fmt: skip
    Path("toy.yaml").write_text(yaml.safe_dump(SMALL | settings))
    Path("space.yaml").write_text(f"learning_rate: {{choices: [{GOOD}, {BAD}]}}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([REPOSITORY, *sys.path]))


def prepared() -> search.Search:
    return search.prepare((None, None, ["toy.yaml"]), (), Path("space.yaml"), "optuna", 1, 1)


def begun(*rates: str) -> search_optuna.Trials:
    """Return a search whose first trials have drawn these rates."""
    with search.kept(prepared(), OUT):
        trials = search_optuna.Trials(prepared(), OUT, 1)
    for number, rate in enumerate(rates):
        trials.study.enqueue_trial({"learning_rate": rate})
        assert trials._draw() == number
    return trials


def states(trials: search_optuna.Trials | None = None) -> list[str]:
    trials = trials or begun()
    return [each.state.name for each in trials.study.get_trials()]


def folder(number: int) -> RunFolder:
    return RunFolder.open(OUT / "trials" / f"{number:04d}")


def test_a_choice_that_learns_nothing_is_pruned() -> None:
    trials = begun(GOOD, BAD, GOOD)
    for number in range(3):
        search_trial.run(OUT, number)
    assert states(trials) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert [folder(n).about["status"] for n in range(3)] == ["done", "pruned", "done"]
    assert [len(folder(n).epochs()) for n in range(3)] == [6, 2, 6]  # the first is not judged
    best = trials.study.best_trial
    assert best.params == {"learning_rate": GOOD} and best.value > 0.9


def test_trials_have_one_seed_and_never_see_test_data() -> None:
    begun(GOOD, GOOD)
    for number in range(2):
        search_trial.run(OUT, number)
    first, second = (folder(n).epochs()[-1]["valid_score"] for n in range(2))
    assert first == second
    assert set(folder(0).read("metrics.json")) == {"valid", "seconds", "peak_memory"}


def test_two_jobs_share_a_search_and_a_later_start_counts_their_trials(capsys: Any) -> None:
    jobs = ["--jobs", str(min(2, os.cpu_count() or 1))]
    assert main([*TUNE.split(), "--trials", "2", *jobs]) == 0
    assert sorted(path.name for path in (OUT / "trials").glob("*[0-9]")) == ["0000", "0001"]
    said = capsys.readouterr().out
    assert "2 trials, 0 ended" in said
    assert said.endswith("next: ur4rec train --config-files out/best.yaml\n")
    assert main([*TUNE.split(), "--trials", "2"]) == 0
    assert "2 trials, 2 ended" in capsys.readouterr().out
    assert len(states()) == 2
    assert main("train --config-files out/best.yaml --epochs=0 --run_folder=again".split()) == 0
    best = max(range(2), key=lambda n: max(row["valid_score"] for row in folder(n).epochs()))
    found = folder(best).settings()["learning_rate"]
    assert RunFolder.open("again").settings()["learning_rate"] == found


def test_a_killed_trial_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begun(GOOD)
    die(lambda: search_trial.run(OUT, 0), monkeypatch, dying_at(RunFolder, "add_epoch", 4))
    assert states() == ["RUNNING"] and len(folder(0).epochs()) == 3
    began = folder(0).about["started"]
    assert main([*TUNE.split(), "--trials", "1"]) == 0
    assert states() == ["COMPLETE"] and len(folder(0).epochs()) == 6
    assert folder(0).about["started"] == began


def test_ctrl_c_marks_the_trials_that_run() -> None:
    words = [sys.executable, "-m", "ur4rec_recbole", *TUNE.split(), "--trials", "3"]
    process = subprocess.Popen(
        [*words, "--epochs=2000", "--stopping_step=2000"], stderr=subprocess.PIPE, text=True
    )
    place, until = OUT / "trials" / "0000" / "epochs.csv", time.monotonic() + 120
    while not place.exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "ur4rec tune: interrupted; the same command goes on"
    assert folder(0).about["status"] == "interrupted"
    assert not (OUT / "trials" / "0001").exists()


def ending_with(code: int) -> Callable[..., subprocess.Popen[bytes]]:
    """Stand for `apart.start`: a trial's process that ends at once, with an exit code."""
    return lambda *_: subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])


def test_failed_trials_count_and_are_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(apart, "start", ending_with(3))
    assert main([*TUNE.split(), "--trials", "2"]) == 1
    said = capsys.readouterr().out
    assert "trial 0001: failed, see out/trials/0001.log" in said
    assert "2 trials: 0 done, 0 pruned, 2 failed; none to choose" in said
    assert states() == ["FAIL", "FAIL"]
    assert not (OUT / "best.yaml").exists()


def test_a_trial_that_was_interrupted_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(apart, "start", ending_with(130))
    assert main([*TUNE.split(), "--trials", "1"]) == 1
    said = capsys.readouterr().out
    assert "trial 0000: interrupted; start again to go on, see out/trials/0000.log" in said
    assert states() == ["RUNNING"]


def test_a_trial_goes_on_once_the_disk_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    trials = begun(GOOD)
    with monkeypatch.context() as disk, pytest.raises(InputError, match="Make room"):
        disk.setattr(RunFolder, "add_epoch", full)
        disk.setattr(RunFolder, "mark", full)
        search_trial.run(OUT, 0)
    assert not trials._told(0, 2, OUT / "trials" / "0000.log")
    assert states(trials) == ["RUNNING"]
    search_trial.run(OUT, 0)
    assert states(trials) == ["COMPLETE"]


def test_a_search_that_is_opened_again_draws_what_it_would_have() -> None:
    Path("space.yaml").write_text("learning_rate: {low: 0.0001, high: 0.1, log: true}\n")
    at_once = begun()
    for score in (0.1, 0.2, 0.3):
        at_once.study.tell(at_once._draw(), score)
    Path("out").rename("before")
    for score in (0.1, 0.2, 0.3):
        again = begun()
        again.study.tell(again._draw(), score)
    drawn = [[each.params for each in one.study.get_trials()] for one in (at_once, again)]
    assert drawn[0] == drawn[1] and len({str(each) for each in drawn[0]}) == 3


def test_another_search_needs_another_folder(capsys: Any) -> None:
    begun()
    assert main([*TUNE.split(), "--n_layers=2"]) == 2
    assert "settings differ" in capsys.readouterr().err


def test_a_search_is_of_one_data_set(capsys: Any) -> None:
    begun()
    begun()  # the same
    known = json.loads((OUT / search.FILE).read_text())
    (OUT / search.FILE).write_text(json.dumps({k: v for k, v in known.items() if k != "inputs"}))
    begun()  # of before
    with Path("data/toy/toy.inter").open("a") as file:
        file.write("u1\ti7\t999\n")
    assert main(TUNE.split()) == 2
    assert "inputs differ" in capsys.readouterr().err


def test_an_epoch_is_compared_with_the_same_epoch_of_the_same_stage() -> None:
    Path("toy.yaml").write_text(Path("toy.yaml").read_text() + "stopping_step: 9\n")
    told: list[int] = []
    stages = "{stages: [pretrain_sasrec, end_to_end], epochs: 2}"
    values = yaml.safe_load(stages)
    with search.kept(prepared(), OUT):
        search.train(prepared(), values, OUT / "trials" / "0", lambda step, _: told.append(step))
    assert told == [2, search.STAGE + 2]
