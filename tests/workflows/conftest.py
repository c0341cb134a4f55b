"""Every workflow of RecBole with model='UR4Rec', as a program that imports the package runs it."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, sequences, write_atomic_files

PREAMBLE = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import torch
torch.set_num_threads(1)
import ur4rec_recbole
given = json.load(sys.stdin)
"""
SHORT = SMALL | {"stages": ["pretrain_sasrec", "end_to_end"], "learning_rate": 0.01}


def fresh(code: str, given: Any, folder: Path) -> Any:
    """Run code in a process of its own, which knows `given`, and return what it calls `found`."""
    program = f"{PREAMBLE}\n{textwrap.dedent(code)}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(given), cwd=folder,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy data set, shared by a module's tests."""
    made = tmp_path_factory.mktemp("workflow")
    write_atomic_files(made, sequences())
    return made


@pytest.fixture(scope="module")
def settings(folder: Path) -> dict[str, Any]:
    """A configuration that trains in less than a second."""
    return SHORT | {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }


@pytest.fixture(scope="module")
def runs(folder: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that runs configurations by name, all in one fresh process.

    Of each it tells the test metrics, how many targets the parts have, and what failed.
    """

    def run(configurations: dict[str, Any]) -> dict[str, Any]:
        return fresh(RUN_EACH, configurations, folder)

    return run


RUN_EACH = """
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole

found = {}
for name, settings in given.items():
    try:
        config = Config("UR4Rec", "toy", config_dict=settings)
        parts = [each._dataset for each in data_preparation(config, create_dataset(config))]
        result = run_recbole("UR4Rec", "toy", config_dict=settings, saved=False)
        measured = result["test_result"] or {}  # None where the test part is empty
        found[name] = {
            "targets": [len(part.target_rows()) for part in parts],
            "test": {key: float(value) for key, value in measured.items()},
        }
    except Exception as error:
        found[name] = {"error": f"{type(error).__name__}: {error}"}
"""
