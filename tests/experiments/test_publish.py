"""Publishing: the copy of a benchmark tells the same, and nothing of the machine."""

import json
from pathlib import Path

import pytest

from tests.test_benchmark import command, made, plan_values  # noqa: F401
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments.publish import publish
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


def test_the_copy_holds_no_weights_and_no_absolute_path(made: Path, tmp_path: Path) -> None:  # noqa: F811
    publish(made, tmp_path / "copy")
    files = [file for file in (tmp_path / "copy").rglob("*") if file.is_file()]
    assert not {file.suffix for file in files} & {".pth", ".pt", ".log"}
    for file in tmp_path.glob("copy/*/run.json"):
        config = json.loads(file.read_text())["config"]
        values = [each["value"] for each in config.values()]
        assert "epochs" in config
        assert not [value for value in values if isinstance(value, str) and value.startswith("/")]


def test_a_search_is_copied_as_well_and_may_be_all_there_is(made: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tuning").symlink_to(made)
    assert publish(tmp_path / "runs", tmp_path / "copy") == 4
    assert len(list(tmp_path.glob("copy/tuning/*/metrics.json"))) == 4


def test_a_folder_without_ended_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold runs that have ended"):
        publish(tmp_path, tmp_path / "copy")
