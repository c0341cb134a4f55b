"""`ur4rec tune --engine ray`: which Ray it takes, and what a trial gets of a cluster."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.home import at_home, home  # noqa: F401
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import search_ray
from ur4rec_recbole.runs.folder import RunFolder

TUNE = "tune --config-files toy.yaml --space space.yaml --engine ray --output out"


@pytest.fixture(autouse=True)
def _inputs(at_home: None) -> None:  # noqa: F811
    Path("space.yaml").write_text("learning_rate: {low: 0.001, high: 0.1, log: true}\n")


@pytest.mark.parametrize("content", [{}, {"RunConfig": 1, "report": 1}])
def test_ray_must_be_a_current_one(content: dict[str, Any], monkeypatch: Any) -> None:
    old, tune = ModuleType("ray"), ModuleType("ray.tune")
    old.__dict__.update({"__version__": "2.6.3", "tune": tune})
    tune.__dict__.update(content)
    monkeypatch.setitem(sys.modules, "ray", old)
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    with pytest.raises(InputError, match="current Ray.*2.6.3"):
        search_ray.require_ray()


def test_without_ray_the_engine_is_refused(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(TUNE.split()) == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("machines", "jobs", "cpu", "gpu"),
    [
        ([{"CPU": 8.0}], 2, 4, 0),
        ([{"CPU": 8.0}, {"CPU": 4.0, "GPU": 1.0}], 4, 2, 1),
        ([{"CPU": 2.0}], 5, 1, 0),
    ],
)
def test_trials_of_ray_share_a_machine(
    machines: list[dict[str, float]], jobs: int, cpu: int, gpu: int
) -> None:
    assert search_ray._share(machines, jobs) == {"cpu": cpu, "gpu": gpu}


def has_current_ray() -> bool:
    try:
        return bool(search_ray.require_ray())
    except InputError:
        return False


@pytest.mark.slow
def test_a_search_on_ray_ends_as_one_of_optuna(capsys: Any) -> None:
    if not has_current_ray():
        pytest.skip("no current Ray is installed: pip install 'ray[tune]'")
    assert main([*TUNE.split(), "--trials", "2"]) == 0
    assert "next: ur4rec train --config-files out/best.yaml" in capsys.readouterr().out
    folders = sorted(each.parent for each in Path("out").glob("trials/*/run.json"))
    assert [RunFolder.open(each).about["status"] for each in folders] == ["done", "done"]
    assert json.loads(Path("out/ray.json").read_text()) == 2
    assert main([*TUNE.split(), "--trials", "3"]) == 2  # Ray cannot extend it
