"""Several processes train what one process would, over gloo on the CPU."""

from pathlib import Path

import pytest
import torch

from tests.workflows.conftest import SETTINGS, curve
from ur4rec_recbole import load, run
from ur4rec_recbole.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("described_toy")


@pytest.mark.parametrize("recency", [0.0, 0.7])
def test_two_processes_train_as_one_does(recency: float) -> None:
    settings = SETTINGS | {"target_recency": recency}
    run("UR4Rec", "toy", config_dict=settings | {"run_folder": "one"})
    two = run("UR4Rec", "toy", config_dict=settings | {"run_folder": "two", "nproc": 2})
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
