"""Several processes train what one process would, over gloo on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole import load, run
from ur4rec_recbole.runs.folder import RunFolder

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


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path) -> None:
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


def test_two_processes_train_as_one_does() -> None:
    run("UR4Rec", "toy", config_dict=SETTINGS | {"run_folder": "one"})
    two = run("UR4Rec", "toy", config_dict=SETTINGS | {"run_folder": "two", "nproc": 2})
    for (stage, alone), (same, together) in zip(curve("one"), curve("two"), strict=True):
        assert stage == same
        assert together == pytest.approx(alone, rel=1e-3), stage
    assert two.folder == Path("two") and two.model is None


def test_the_model_that_two_processes_trained_is_one_of_one_process() -> None:
    settings = SETTINGS | {"run_folder": "two", "nproc": 2, "stages": ["pretrain_sasrec"]}
    result = run("UR4Rec", "toy", config_dict=settings)
    about = RunFolder.open("two")
    assert about.about["config"]["world_size"]["value"] == 2
    assert about.settings()["nproc"] == 2 and "world_size" not in about.settings()
    for place in ("two", "two/model.pth"):
        loaded = load(place)
        assert loaded.config["single_spec"]
        torch.testing.assert_close(loaded.model.state_dict()["score"], torch.tensor(0))
    assert result["test"] == result.metrics["test"]
    assert [file.name for file in Path("log/UR4Rec").iterdir()] != []
    assert len(list(Path("log/UR4Rec").iterdir())) == 1
    assert len(list(Path("log_tensorboard").iterdir())) == 1


def test_a_model_of_recbole_trains_as_recbole_has_it() -> None:
    settings = {"data_path": ".", "load_col": SETTINGS["load_col"], "epochs": 2, "nproc": 2,
                "train_neg_sample_args": None, "run_folder": "run", "state": "ERROR",
                "MAX_ITEM_LIST_LENGTH": 5}  # fmt: skip
    result = run("SASRec", "toy", config_dict=settings)
    assert 0 < result.metrics["test"]["full"]["ndcg@10"] < 1
    assert len(RunFolder.open("run").epochs()) == 2
    assert load("run").config["single_spec"]
