"""Runs and checkpoints of the first released layout: read, gone on with and loaded today."""

import shutil
from pathlib import Path

import pytest
import torch

from ur4rec_recbole import load, run
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _old(tmp_path: Path) -> None:
    """Lay the old files where relative paths find them; tests run in this folder."""
    shutil.copytree(Path(__file__).with_name("old"), tmp_path, dirs_exist_ok=True)


def test_an_old_run_is_reported_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "run"]) == 0
    assert "low_hit_rate" in Path("run/report.html").read_text()
    assert main(["compare", "run", "killed"]) == 0
    assert "status" in capsys.readouterr().out


def test_an_old_name_of_a_measurement_is_read() -> None:
    hits = [stage["sampled_hit10"] for stage in RunFolder.open("run").read("stages.json")]
    assert len(hits) == 2 and all(0 <= hit <= 1 for hit in hits)


def test_an_old_run_is_loaded_without_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    safe = torch.load

    def watched(*args: object, **options: object) -> object:
        assert options.get("weights_only") is True
        return safe(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "load", watched)
    found = load("run")
    kept = safe("run/2-pretrain_retriever.pth", weights_only=True)
    assert all(torch.equal(value, kept[key]) for key, value in found.model.state_dict().items())
    assert len(found.test) == 40


def test_an_old_killed_run_goes_on_to_its_end() -> None:
    result = run(resume="killed")
    assert RunFolder.open("killed").about["status"] == "done"
    assert result["model_file"] == "killed/model.pth"
    rows = RunFolder.open("killed").epochs()
    assert [row["stage"] for row in rows] == ["pretrain_sasrec", "pretrain_retriever"]


def test_an_old_checkpoint_loads_by_its_name() -> None:
    found = load("saved/old.pth")
    kept = torch.load("run/2-pretrain_retriever.pth", weights_only=True)
    assert all(torch.equal(value, kept[key]) for key, value in found.model.state_dict().items())


def test_other_training_data_than_an_old_runs_are_refused() -> None:
    file = Path("data/toy/toy.inter")
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *lines[1:]]) + "\n")
    with pytest.raises(InputError, match="SHA-256 [0-9a-f]{64}.*SHA-256 [0-9a-f]{64}"):
        load("run")
