"""Registration: 'UR4Rec' is known to every entry point, and nothing else has changed."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recbole.data.dataset
import recbole.trainer
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_model, get_trainer, init_seed
from recbole.utils.case_study import full_sort_topk

import ur4rec_recbole
from tests.conftest import SMALL, recbole_alone, write_atomic_files
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.model.ur4rec import UR4Rec
from ur4rec_recbole.registration import register
from ur4rec_recbole.training.trainer import UR4RecTrainer

PREAMBLE = "import warnings, torch\nwarnings.filterwarnings('ignore')\ntorch.set_num_threads(1)\n"


def fresh(code: str, *arguments: str) -> str:
    """Run code in a process of its own and return what it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def test_names_lead_to_the_classes_of_the_package() -> None:
    assert get_model("UR4Rec") is UR4Rec
    assert get_trainer(ModelType.SEQUENTIAL, "UR4Rec") is UR4RecTrainer
    assert recbole.data.dataset.UR4RecDataset is UR4RecDataset
    config = Config(model="UR4Rec", dataset="ml-100k", config_dict={"state": "ERROR"})
    assert isinstance(create_dataset(config), UR4RecDataset)


def test_a_checkpoints_class_leads_back_to_the_package() -> None:
    assert UR4Rec.__module__.startswith("ur4rec_recbole.")
    assert UR4RecDataset.__module__.startswith("ur4rec_recbole.")


def test_the_model_class_itself_will_do_for_its_name(toy: Any) -> None:
    config = Config(model=UR4Rec, dataset="ml-100k", config_dict={"state": "ERROR"})
    assert config["n_sub_experts"] == 3


def test_registering_twice_changes_nothing() -> None:
    before = Config._load_internal_config_dict
    register()
    assert Config._load_internal_config_dict is before


def test_other_models_keep_their_data_set_and_trainer() -> None:
    settings = {"train_neg_sample_args": None, "state": "ERROR"}
    config = Config(model="SASRec", dataset="ml-100k", config_dict=settings)
    assert type(create_dataset(config)) is SequentialDataset
    assert get_trainer(ModelType.SEQUENTIAL, "SASRec") is Trainer


@pytest.fixture
def toy_settings(tmp_path: Path) -> dict[str, Any]:
    histories = {f"u{n}": [f"i{(n * k * k + k) % 30}" for k in range(4, 14)] for n in range(1, 13)}
    histories = {user: list(dict.fromkeys(items)) for user, items in histories.items()}
    write_atomic_files(tmp_path, histories)
    return {
        "data_path": str(tmp_path),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "checkpoint_dir": str(tmp_path / "saved"),
        "show_progress": False,
    }


def test_a_fresh_process_that_imports_the_package_alone_trains_by_name(
    tmp_path: Path, toy_settings: dict[str, Any]
) -> None:
    settings = dict(SMALL) | toy_settings
    printed = fresh(
        f"""
        import ur4rec_recbole
        from recbole.quick_start import run_recbole
        result = run_recbole(model="UR4Rec", dataset="toy", config_dict={settings!r})
        print("hit@10" in result["test_result"], 0 <= result["best_valid_score"] <= 1)
        """
    )
    assert printed == "True True"
    (file,) = Path(toy_settings["checkpoint_dir"]).glob("UR4Rec-*.pth")
    printed = fresh(
        f"""
        import ur4rec_recbole
        from recbole.quick_start import load_data_and_model
        from recbole.utils.case_study import full_sort_topk
        config, model, data, train, valid, test = load_data_and_model({str(file)!r})
        users = data.token2id("user_id", ["u3", "u7"])
        _, items = full_sort_topk(users, model, test, 3, device=config["device"])
        print(type(model).__name__, type(train._dataset).__name__, items.tolist())
        """
    )
    config, model, data, _, _, test = load_data_and_model(str(file))
    users = data.token2id("user_id", ["u3", "u7"])
    scores, items = full_sort_topk(users, model, test, 3, device=config["device"])
    assert printed == f"UR4Rec UR4RecDataset {items.tolist()}"
    assert torch.isfinite(scores).all()


def test_unpickling_a_checkpoint_imports_and_registers_the_package(
    toy_settings: dict[str, Any], toy: Any
) -> None:
    made = toy(stages=["pretrain_sasrec"])
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    torch.save(made.model, "model.pth")
    printed = fresh(
        """
        model = torch.load("model.pth", weights_only=False)
        from recbole.utils import get_model
        print(get_model("UR4Rec") is type(model))
        """
    )
    assert printed == "True"


def test_run_recbole_works_in_this_process_too(toy_settings: dict[str, Any]) -> None:
    settings = SMALL | toy_settings | {"stages": ["pretrain_sasrec", "end_to_end"]}
    result = run_recbole(model="UR4Rec", dataset="toy", config_dict=settings)
    assert set(result["test_result"]) == set(result["best_valid_result"])


def test_loaded_weights_predict_as_the_trained_ones_did(toy_settings: dict[str, Any]) -> None:
    config = Config(model="UR4Rec", dataset="toy", config_dict=SMALL | toy_settings)
    init_seed(config["seed"], True)
    train, valid, _ = data_preparation(config, create_dataset(config))
    trainer = UR4RecTrainer(config, UR4Rec(config, train._dataset))
    trainer.fit(train, valid, verbose=False)
    _, model, _, _, again, _ = load_data_and_model(trainer.saved_model_file)
    rows = valid._dataset[np.arange(len(valid._dataset))]
    same = again._dataset[np.arange(len(again._dataset))]
    found = model.eval().full_sort_predict(same)
    assert torch.equal(found, trainer.model.eval().full_sort_predict(rows))


SCORES_OF = """
import sys
{imports}
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
settings = {settings!r}
config = Config(model="{model}", dataset="toy", config_dict=settings)
init_seed(config["seed"], True)
train, valid, test = data_preparation(config, create_dataset(config))
init_seed(config["seed"], True)
network = get_model("{model}")(config, train._dataset)
trainer = get_trainer(config["MODEL_TYPE"], "{model}")(config, network)
trainer.fit(train, valid, verbose=False, saved=False)
result = trainer.evaluate(test, load_best_model=False)
total = sum(p.detach().double().abs().sum().item() for p in network.parameters())
print({imported}("ur4rec_recbole" in sys.modules), repr(total), dict(result))
"""


@recbole_alone
@pytest.mark.parametrize("model", ["SASRec", "BPR"])
def test_other_models_train_as_if_the_package_were_never_imported(
    toy_settings: dict[str, Any], model: str
) -> None:
    settings = toy_settings | {"epochs": 2, "state": "ERROR"}
    if model == "SASRec":
        settings |= {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 5}
    printed = [
        fresh(SCORES_OF.format(imports=imports, settings=settings, model=model, imported=imported))
        for imports, imported in (("", "not "), ("import ur4rec_recbole", "bool"))
    ]
    assert printed[0].startswith("True ")
    assert printed[0] == printed[1]


def test_the_package_states_its_version() -> None:
    assert ur4rec_recbole.__version__.count(".") == 2
