"""Every workflow of RecBole with model='UR4Rec', as a program that imports the package runs it."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole.runs.folder import RunFolder

PREAMBLE = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import torch
torch.set_num_threads(1)
import ur4rec_recbole
given = json.load(sys.stdin)
"""
SHORT = SMALL | {"stages": ["pretrain_sasrec", "end_to_end"], "learning_rate": 0.01}

# 19 windows: of the last batch of 6 the second process has none.
LENGTHS = (14, 9, 12, 3, 14, 7, 11, 14, 14)
SETTINGS: dict[str, Any] = SMALL | {
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "item_text_table": "text.npz",
    "item_image_table": "image.npz",
    "epochs": 2,
    "learning_rate": 0.01,
    "retriever_learning_rate": 0.01,
    "train_batch_size": 6,
    "metric_decimal_place": 8,
    "sequence_loss": "softmax",
    "retrieval_loss": "softmax",
    "n_sub_experts": 3,
    "router_top_k": 2,
    "load_balance_weight": 0.1,
    "contrastive_weight": 0.1,
    "weight_decay": 0.01,
}
TIMES = ("seconds", "seconds_per_step", "elapsed", "peak_memory")


@pytest.fixture
def described_toy(tmp_path: Path) -> None:
    """Write the toy data set of `SETTINGS`, with texts and images, into the test's folder."""
    write_atomic_files(tmp_path, sequences(LENGTHS))
    tokens = [f"i{n}" for n in range(1, 21)]
    make_table("item_text", tokens, 6, 1).save(tmp_path / "text.npz")
    make_table("item_image", tokens, 5, 2).save(tmp_path / "image.npz")


def curve(folder: str) -> list[tuple[str, dict[str, float]]]:
    """Return what the epochs came to, by stage, without what they took."""
    rows = [dict(row) for row in RunFolder.open(folder).epochs()]
    return [(row.pop("stage"), {k: row[k] for k in row if k not in TIMES}) for row in rows]


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(f"{folder}/model.safetensors")


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
