"""Which groups of processes can be asked for, and what one of a group is told."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, sequences, write_atomic_files
from ur4rec_recbole import InputError, run
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.runs import group, quick_start
from ur4rec_recbole.runs.group import Group, other_words, settings_of_place

SETTINGS: dict[str, Any] = SMALL | {
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path) -> None:
    write_atomic_files(tmp_path, sequences())


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """Groups that would have been started."""
    made: list[Group] = []
    monkeypatch.setattr(quick_start, "train_together", lambda run, asked, call: made.append(asked))
    monkeypatch.setattr(group.os, "cpu_count", lambda: 8)
    return made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nproc": 0}, "'nproc' must be int, >= 1"),
        ({"nproc": -1}, "'nproc' must be int, >= 1"),
        ({"nproc": 2.0}, "'nproc' must be int"),
        ({"nproc": "2"}, "'nproc' must be int"),
        ({"nproc": None}, "'nproc' must be int"),
        ({"nproc": True}, "'nproc' must be int"),
        ({"nproc": 9}, "at most 8, the processor cores"),
        ({"nproc": 4, "train_batch_size": 3}, "train_batch_size is 3"),
        ({"nproc": 2, "world_size": 1}, "'world_size' must be at least 2"),
        ({"nproc": 2, "world_size": 3, "group_offset": 2}, "'world_size' must be at least 4"),
        ({"nproc": 2, "world_size": "all"}, "'world_size' must be int"),
        ({"nproc": 2, "port": 70000}, "'port' must be a number from 1 to 65535"),
        ({"nproc": 2, "port": "http"}, "'port' must be a number from 1 to 65535"),
        ({"nproc": 2, "port": 0}, "'port' must be a number from 1 to 65535"),
        ({"nproc": 2, "ip": 5}, "'ip' must be str"),
        ({"nproc": 2, "group_offset": -1}, "'group_offset' must be int, >= 0"),
        ({"nproc": 2, "save_dataloaders": True}, "'save_dataloaders' must be unset"),
    ],
)
def test_a_group_that_cannot_be_is_refused_before_it_starts(
    settings: dict[str, Any], message: str, started: list[Group]
) -> None:
    with pytest.raises(InputError, match=message):
        run("UR4Rec", "toy", config_dict=SETTINGS | settings)
    assert not started and not Path("runs").exists() and not Path("log").exists()


@pytest.mark.parametrize("model", ["Pop", "ItemTransition", "SequentialEASE", "S3Rec"])
def test_a_model_that_takes_no_steps_trains_alone(model: str, started: list[Group]) -> None:
    settings = {"data_path": ".", "load_col": SETTINGS["load_col"], "nproc": 2}
    settings["train_neg_sample_args"] = None
    with pytest.raises(InputError, match=f"must be 1 for {model}"):
        run(model, "toy", config_dict=settings)
    assert not started


@pytest.mark.parametrize("words", [["--nproc=2"], ["--nproc", "2"], ["--nproc=2", "--port=5000"]])
def test_the_command_line_asks_as_recboles_does(words: list[str], started: list[Group]) -> None:
    given = [f"--{key}={value}" for key, value in SETTINGS.items()]
    assert main(["train", "--model=UR4Rec", "--dataset=toy", *given, *words]) == 0
    [asked] = started
    assert (asked.nproc, asked.world_size, asked.ip, asked.offset) == (2, 2, "localhost", 0)
    assert asked.port == 5000 if "--port=5000" in words else asked.port > 1023


def test_words_that_contradict_each_other_are_refused(started: list[Group], capsys: Any) -> None:
    assert main(["train", "--model=UR4Rec", "--dataset=toy", "--nproc=2", "--nproc", "3"]) == 2
    assert "--nproc must be given once" in capsys.readouterr().err


def test_of_several_machines_each_starts_its_own(started: list[Group]) -> None:
    more = {"nproc": 2, "world_size": 6, "group_offset": 4, "ip": "10.0.0.1"}
    run("UR4Rec", "toy", config_dict=SETTINGS | more)
    assert started == [Group(2, 6, "10.0.0.1", group.RECBOLES_PORT, 4)]


def test_one_process_is_no_group(started: list[Group]) -> None:
    result = run("UR4Rec", "toy", config_dict=SETTINGS | {"nproc": 1, "stages": ["end_to_end"]})
    assert not started and result.folder


def test_what_starts_a_group_is_not_passed_on() -> None:
    words = ["--nproc=2", "--world_size=-1", "--epochs=2", "--nproc_of_mine=1"]
    assert other_words(words) == ["--epochs=2", "--nproc_of_mine=1"]


def test_a_process_of_torchrun_finds_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of_place() == {}
    environment = {
        "TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "1", "RANK": "3", "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
    }  # fmt: skip
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert settings_of_place() == {
        "nproc": 2, "world_size": 4, "ip": "10.0.0.1", "port": 29500, "offset": 2, "local_rank": 1,
    }  # fmt: skip
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert settings_of_place() == {}


def test_a_process_that_was_started_finds_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_place", {})
    asked = Group(2, 4, "10.0.0.1", 5000, 2)
    group.take_place(asked, 1)
    assert settings_of_place() == {**asked._asdict(), "local_rank": 1}
