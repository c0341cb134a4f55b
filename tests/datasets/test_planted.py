"""Planted signals: the data keep their rule, and the model finds it where its tables tell it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.datasets.planted import SIGNALS, Planted, draw, write
from ur4rec_recbole.model.positions import Positions

KEYS = {"text": "item_text", "image": "item_image", "profile": "user_profile"}
SETTINGS: dict[str, Any] = {
    "state": "ERROR",
    "exclude_history": True,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": 12,
    "hidden_size": 32,
    "initializer_range": 0.1,
    "inner_size": 64,
    "n_layers": 1,
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.0,
    "n_sub_experts": 2,
    "expert_inner_size": 64,
    "expert_dropout_prob": 0.1,
    "n_proxy_tokens": 2,
    "train_batch_size": 32,
    "retrieval_loss": "softmax",
    "load_balance_weight": 0.0,
    "learning_rate": 0.002,
    "retriever_learning_rate": 0.003,
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_next_item_follows_the_rule(signal: str) -> None:
    planted = Planted(signal, n_users=20)
    world = draw(planted)
    before, after = world.items[:, :-1], world.items[:, 1:]
    if signal == "order":
        successor = dict(zip(before.ravel(), after.ravel(), strict=True))
        assert all(successor[b] == a for b, a in zip(before.ravel(), after.ravel(), strict=True))
        return
    classes = world.image_class if signal == "image" else world.text_class
    wanted = (classes[before] + 1) % planted.n_classes
    if signal == "profile":
        wanted = world.told[:, :-1]
    assert (classes[after] == wanted).all()


@pytest.mark.parametrize("signal", SIGNALS)
def test_no_user_has_an_item_twice(signal: str) -> None:
    for history in draw(Planted(signal, n_users=20)).items:
        assert len(set(history)) == len(history)


def test_the_same_seed_writes_the_same_data(tmp_path: Path) -> None:
    folders = [write(Planted("image", n_users=20), tmp_path / name) for name in "ab"]
    for name in ("planted.inter", "item_text.npz", "item_image.npz", "user_profile.npz"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_images_are_written_for_every_item_that_occurs(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = write(Planted("image", n_users=5), tmp_path, images=True)
    table = FeatureTable.load(folder / "item_image.npz")
    assert {path.stem for path in (folder / "images").iterdir()} == set(table.tokens)
    first = np.asarray(image.open(folder / "images" / f"{table.tokens[0]}.png")) / 255
    np.testing.assert_allclose(first.ravel(), table.vectors[0], atol=1e-6)


def test_an_unknown_signal_is_refused() -> None:
    with pytest.raises(InputError, match="signal must be one of"):
        Planted("smell")


def train(
    folder: Path, tables: list[str], shuffled: bool = False, epochs: int = 12
) -> tuple[float, Any, Any]:
    """Train briefly; return validation HR@10, the model and the validation loader."""
    stages = ["pretrain_sasrec", "pretrain_retriever"]
    settings = SETTINGS | {
        "data_path": str(folder.parent),
        "stages": [
            {"name": name, "epochs": n} for name, n in zip(stages, (5, epochs), strict=True)
        ],
    }
    for name in tables:
        table = FeatureTable.load(folder / f"{KEYS[name]}.npz")
        file = folder / f"{KEYS[name]}{'-shuffled' * shuffled}.npz"
        if shuffled:
            order = np.random.default_rng(0).permutation(len(table))
            FeatureTable(table.tokens, table.vectors[order], table.provenance, table.lengths).save(
                file
            )
        settings[f"{KEYS[name]}_table"] = str(file)
    config = Config("UR4Rec", "planted", config_dict=settings)
    init_seed(1, True)
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    model = get_model("UR4Rec")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "UR4Rec")(config, model)
    trainer.fit(train_data, valid_data, verbose=False, saved=False)
    return trainer.results[-1].metrics["hit@10"], model, valid_data


def mean_route(model: Any, valid_data: Any) -> dict[str, float]:
    """Return the average weight that the cross-modal router gives each modality."""
    rows = valid_data._dataset[np.arange(len(valid_data._dataset))]
    model.eval()
    with torch.no_grad():
        seq = rows[model.ITEM_SEQ]
        query = torch.arange(seq.shape[1]).expand_as(seq)
        h = model(seq, model.item_embedding(model.features))
        _, routes = model.retrieve(h, Positions(seq > 0), rows, query)
    return dict(zip(model.experts.modalities, routes.modal.mean(0).tolist(), strict=True))


@pytest.mark.parametrize(
    "signal",
    ["image", pytest.param("text", marks=pytest.mark.slow)],
)
def test_the_right_table_beats_the_wrong_one_and_its_own_shuffled_rows(
    tmp_path: Path, signal: str
) -> None:
    folder = write(Planted(signal), tmp_path)
    wrong = "text" if signal == "image" else "image"
    right, _, _ = train(folder, [signal])
    assert right > 1.7 * train(folder, [wrong])[0]
    assert right > 1.7 * train(folder, [signal], shuffled=True)[0]


@pytest.mark.slow
def test_the_profile_tells_what_no_item_does(tmp_path: Path) -> None:
    folder = write(Planted("profile"), tmp_path)
    right, _, _ = train(folder, ["profile", "text"], epochs=40)
    assert right > 1.7 * train(folder, ["text"], epochs=40)[0]


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["image", "text"])
def test_the_router_listens_to_the_modality_that_knows(tmp_path: Path, signal: str) -> None:
    folder = write(Planted(signal), tmp_path)
    _, model, valid_data = train(folder, ["text", "image"])
    route = mean_route(model, valid_data)
    wrong = "text" if signal == "image" else "image"
    assert route["profile"] == 0.0
    assert route[signal] > 0.6 > 0.4 > route[wrong]
