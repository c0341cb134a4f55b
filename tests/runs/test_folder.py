"""RunFolder: a run on disk that a crash cannot break."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SMALL, sequences, write_atomic_files
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs.folder import RunFolder


@pytest.fixture
def run(toy: Any, tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", toy().config, fingerprint="abc")


def test_a_new_folder_says_what_runs_and_where(run: RunFolder) -> None:
    about = RunFolder.open(run.path).about
    assert (about["model"], about["dataset"]) == ("UR4Rec", "toy")
    assert about["status"] == "running"
    assert about["data_fingerprint"] == "abc"
    assert {"recbole", "torch", "numpy", "ur4rec_recbole", "python"} == set(about["versions"])
    assert {"cpu", "cores", "threads", "memory"} == set(about["machine"])


def test_every_value_names_its_origin(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recbole.config import Config

    write_atomic_files(tmp_path, sequences())
    (tmp_path / "a.yaml").write_text("n_layers: 3\nn_heads: 1\n")
    (tmp_path / "b.yaml").write_text("n_heads: 2\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    monkeypatch.setattr("sys.argv", ["run", "--seed=3"])
    settings = {"hidden_size": 8, "data_path": str(tmp_path), "state": "ERROR"}
    config = Config("UR4Rec", "toy", files, settings)
    found = RunFolder.create(tmp_path / "run", config, files).about["config"]
    assert found["n_layers"] == {"value": 3, "origin": files[0]}
    assert found["n_heads"] == {"value": 2, "origin": files[1]}
    assert found["hidden_size"] == {"value": 8, "origin": "code"}
    assert found["seed"] == {"value": 3, "origin": "command line"}
    assert found["fusion"]["origin"] == "default"
    assert found["checkpoint_dir"]["origin"] == "recbole"


def test_a_configuration_among_the_values_is_named_only(toy: Any, tmp_path: Path) -> None:
    config = toy().config
    config["member_configs"] = [toy().config]
    found = RunFolder.create(tmp_path / "run", config).about["config"]
    assert found["member_configs"]["value"] == [f"UR4Rec on toy, seed {config['seed']}"]


def test_a_folder_that_holds_a_run_is_refused(run: RunFolder, toy: Any) -> None:
    with pytest.raises(InputError, match="--resume"):
        RunFolder.create(run.path, toy().config)


def test_a_folder_that_cannot_be_written_is_refused_at_once(toy: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can be written to"):
        RunFolder.create(tmp_path / "file" / "run", toy().config)


def test_what_fails_before_anything_is_written_leaves_no_folder(toy: Any, tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"  # a configuration file that was removed since the start
    with pytest.raises(InputError):
        RunFolder.create(tmp_path / "run", toy().config, [str(gone)])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"model": "UR4Rec"}'])
def test_what_is_no_run_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        RunFolder.open(tmp_path)


def test_an_unknown_status_is_refused(run: RunFolder) -> None:
    run.mark("failed")
    assert RunFolder.open(run.path).about["status"] == "failed"
    run.mark("lost")
    with pytest.raises(InputError, match="status"):
        RunFolder.open(run.path)


def test_epochs_of_different_stages_have_their_own_columns(run: RunFolder) -> None:
    rows = [
        {"epoch": 1, "stage": "a", "stage_epoch": 1, "sequence": 2.5},
        {"epoch": 2, "stage": "b", "stage_epoch": 1, "retrieval": 1e-7},
    ]
    for row in rows:
        run.add_epoch(row)
    assert run.epochs() == rows


def test_a_half_line_is_dropped(run: RunFolder) -> None:
    row = {"epoch": 1, "stage": "a", "stage_epoch": 1, "loss": 2.5}
    run.add_epoch(row)
    run.add_finding({"name": "overfitting", "epoch": 0})
    for name in ("epochs.csv", "findings.jsonl"):
        with (run.path / name).open("a") as file:
            file.write('{"1,2.')
    assert run.epochs() == [row]
    assert run.findings() == [{"name": "overfitting", "epoch": 0}]
    run.add_epoch({"epoch": 2, "stage": "a", "stage_epoch": 2, "loss": 2.0})
    assert [row["epoch"] for row in run.epochs()] == [1, 2]


def test_a_resumed_run_forgets_what_it_makes_again(run: RunFolder) -> None:
    for epoch in range(1, 4):
        run.add_epoch({"epoch": epoch, "stage": "a", "stage_epoch": epoch})
        run.add_finding({"name": "x", "epoch": epoch})
    run.rewind(1, run.findings()[:1])
    assert [row["epoch"] for row in run.epochs() + run.findings()] == [1, 1]


def test_metrics_and_ranks_come_back(run: RunFolder) -> None:
    ranks = {"test/full": np.array([1, 7]), "test/users": np.array(["u1", "u22"])}
    assert run.ranks() == {}
    run.write_result({"test": {"full": {"hit@10": 1.0}}, "seconds": 1.5}, ranks)
    found = run.ranks()
    assert all(np.array_equal(found[key], value) for key, value in ranks.items())
    assert run.read("metrics.json")["test"]["full"]["hit@10"] == 1.0
    assert run.read("stages.json") is None
    json.loads((run.path / "metrics.json").read_text())


def test_a_run_without_a_name_gets_a_folder_of_its_own(toy: Any) -> None:
    config = toy(**SMALL).config
    first, second = RunFolder.create(None, config), RunFolder.create(None, config)
    assert first.path != second.path
    assert first.path.parts[0] == "runs"
    assert first.path.name.startswith("UR4Rec-toy-")
