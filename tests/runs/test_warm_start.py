"""Beginning from a run: weights as they are, ids by token, unknown items from their content."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole import InputError, load, run
from ur4rec_recbole.runs.assembly import build_model, load_data
from ur4rec_recbole.runs.quick_start import Config
from ur4rec_recbole.training.trainer import UR4RecTrainer

ITEMS = [f"i{n}" for n in range(1, 31)]


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        **SMALL, "data_path": str(folder), "stages": ["pretrain_sasrec"], "encoder_content": True,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "item_text_table": "text.npz",
        "allow_unknown_tokens": True, **more,
    }  # fmt: skip


@pytest.fixture
def first(tmp_path: Path) -> dict[str, Any]:
    make_table("item_text", ITEMS).save(tmp_path / "text.npz")
    write_atomic_files(tmp_path / "a", sequences())
    found = run("UR4Rec", "toy", config_dict=settings(tmp_path / "a", run_folder="first"))
    write_atomic_files(tmp_path / "b", sequences(n_items=30))  # the same users, more items
    return found.model.state_dict() | {"tokens": np.load("first/tokens.npz")["items"]}


def begun(folder: Path, **more: Any) -> tuple[Any, Any]:
    config = Config("UR4Rec", "toy", None, settings(folder, init_from="first", **more))
    train = load_data(config)[0]
    return build_model(config, train), train._dataset


def test_weights_are_taken_over_and_ids_by_token(first: dict[str, Any], tmp_path: Path) -> None:
    model, train = begun(tmp_path / "b")
    own = model.state_dict()
    for key, value in first.items():
        if key.startswith(("encoder.", "item_embedding.content")):
            assert torch.equal(own[key], value), key
    before = {token: row for row, token in enumerate(first["tokens"])}
    ids, given = own["item_embedding.id.weight"], first["item_embedding.id.weight"]
    known = 0
    for row, token in enumerate(train.field2id_token["item_id"]):
        if row and token in before:
            assert torch.equal(ids[row], given[before[token]])
            known += 1
    assert 10 < known < train.item_num - 1


def test_other_sizes_are_refused(first: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same sizes"):
        begun(tmp_path / "b", hidden_size=8)


def test_a_lexical_table_of_other_texts_is_refused(first: dict[str, Any], tmp_path: Path) -> None:
    made = make_table("item_text", ITEMS, seed=4)
    type(made)(made.tokens, made.vectors, {**made.provenance, "encoder": "tfidf"}).save("other.npz")
    with pytest.raises(InputError, match="axes belong"):
        begun(tmp_path / "b", item_text_table="other.npz")


def test_a_folder_without_a_model_is_refused(first: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    config = settings(tmp_path / "b", run_folder="second", init_from="nothing")
    with pytest.raises(InputError, match="model.json"):
        run("UR4Rec", "toy", config_dict=config)
    assert not Path("second").exists()


def test_a_run_goes_on_learning_from_another(first: dict[str, Any], tmp_path: Path) -> None:
    config = settings(tmp_path / "b", run_folder="second", init_from="first")
    assert run("UR4Rec", "toy", config_dict=config).folder == Path("second")


def test_a_run_that_ended_in_its_first_epoch_begins_from_the_other_again(
    first: dict[str, Any], tmp_path: Path
) -> None:
    whole = settings(tmp_path / "b", run_folder="whole", init_from="first")
    expected = run("UR4Rec", "toy", config_dict=whole).model.state_dict()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(UR4RecTrainer, "_train_epoch", interrupt)
        run("UR4Rec", "toy", config_dict=whole | {"run_folder": "second"})
    found = run(resume="second").model.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_is_loaded_when_what_it_began_with_is_gone(
    first: dict[str, Any], tmp_path: Path
) -> None:
    config = settings(tmp_path / "b", run_folder="second", init_from="first")
    trained = run("UR4Rec", "toy", config_dict=config).model.state_dict()
    shutil.rmtree("first")
    loaded = load("second").model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in trained.items())
