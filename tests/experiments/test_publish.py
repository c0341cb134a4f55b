"""Publishing: the copy of a benchmark tells the same, and nothing of the machine."""

import json
import shutil
from pathlib import Path

import pytest

from tests.experiments.test_benchmark import command, made, plan_values  # noqa: F401
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments.publish import KEPT, publish, without_paths
from ur4rec_recbole.reports import benchmark_page


def test_the_copy_of_a_benchmark_gives_the_same_report(made: Path, tmp_path: Path) -> None:  # noqa: F811
    assert publish(made, tmp_path / "copy") == 4
    benchmark_page.write(made)
    benchmark_page.write(tmp_path / "copy")
    ours = (tmp_path / "copy" / "report.md").read_text()
    theirs = (made / "report.md").read_text()
    failed = "Runs without a result"  # the copy knows no traceback of it
    assert ours.split(failed)[0] == theirs.split(failed)[0]


def test_a_benchmark_goes_on_from_the_copy(made: Path, tmp_path: Path) -> None:  # noqa: F811
    publish(made, tmp_path / "copy")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("copy/*/metrics.json")}
    assert len(before) == 4
    plan = made.parent / "plan.yaml"
    assert command(tmp_path, str(plan), "--output", "copy", "--models", "GRU,Popularity") == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_the_copy_holds_listed_files_alone_and_no_path_of_the_machine(
    made: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(made, tmp_path / "runs")
    run = tmp_path / "runs" / "gru-1"
    (run / "notes.txt").write_text("mine")
    finding = {"name": "slow", "epoch": 1, "evidence": f"see {made}/gru-1/epochs.csv", "cause": ""}
    (run / "findings.jsonl").write_text(json.dumps(finding) + "\n")
    (run / "stages.json").unlink(missing_ok=True)
    (run / "stages.json").symlink_to(made / "ours-1" / "stages.json")
    (tmp_path / "runs" / "linked-1").symlink_to(made / "gru-1")
    publish(tmp_path / "runs", tmp_path / "copy")
    files = [file for file in (tmp_path / "copy").rglob("*") if file.is_file()]
    assert {file.name for file in files} <= {*KEPT, "benchmark.json"} | {
        file.name for file in (made / "jobs").glob("*.json")
    }
    assert not (tmp_path / "copy" / "gru-1" / "stages.json").exists()
    assert not (tmp_path / "copy" / "linked-1").exists()
    for file in files:
        assert str(made.parent).encode() not in file.read_bytes(), file
    config = json.loads((tmp_path / "copy" / "gru-1" / "run.json").read_text())["config"]
    assert config["data_path"]["value"] == made.parent.name
    assert "epochs" in config


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("/home/me/data/toy.yaml", "toy.yaml"),
        ("/home/my name/data", "data"),
        ("C:\\Users\\me\\toy.yaml", "toy.yaml"),
        (["text", {"/a/b": "/c/d"}], ["text", {"b": "d"}]),
        ("see /tmp/x/y.log, line 3", "see y.log, line 3"),
        ("a/b and 1/2 of https://x.org/y/z", "a/b and 1/2 of https://x.org/y/z"),
        ("properties/small.yaml", "properties/small.yaml"),
        (3, 3),
    ],
)
def test_paths_are_replaced_by_their_last_part(value: object, left: object) -> None:
    assert without_paths(value) == left


def test_a_search_is_copied_as_well_and_may_be_all_there_is(made: Path, tmp_path: Path) -> None:  # noqa: F811
    shutil.copytree(made, tmp_path / "runs" / "tuning")
    assert publish(tmp_path / "runs", tmp_path / "copy") == 4
    assert len(list(tmp_path.glob("copy/tuning/*/metrics.json"))) == 4


def test_a_copy_says_what_its_source_says(made: Path, tmp_path: Path) -> None:  # noqa: F811
    shutil.copytree(made, tmp_path / "runs")
    publish(tmp_path / "runs", tmp_path / "copy")
    run = tmp_path / "runs" / "gru-1" / "run.json"
    run.write_text(run.read_text().replace('"status": "done"', '"status": "failed"'))
    assert publish(tmp_path / "runs", tmp_path / "copy") == 3
    assert not list((tmp_path / "copy").glob("gru-1/*")) and not list(
        tmp_path.glob("copy/jobs/gru-1*")
    )


def test_a_copy_is_another_folder_and_leaves_the_runs_of_others_alone(
    made: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(made, tmp_path / "runs")
    with pytest.raises(InputError, match="must be another folder"):
        publish(tmp_path / "runs", tmp_path / "runs")
    shutil.copytree(made / "gru-1", tmp_path / "out" / "mine")
    for _ in range(2):
        publish(tmp_path / "runs", tmp_path / "out")
    assert (tmp_path / "out" / "mine" / "run.json").exists()


def test_a_folder_without_ended_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold runs that have ended"):
        publish(tmp_path, tmp_path / "copy")
