"""load: a model and its data come back from a run's folder, which is never unpickled."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole import InputError, load, run
from ur4rec_recbole.model import saved
from ur4rec_recbole.runs.folder import RunFolder

HISTORIES = sequences([14] * 12, n_items=400)
ITEMS = sorted({item for items in HISTORIES.values() for item in items})


def train(model: str = "UR4Rec", **settings: Any) -> Any:
    write_atomic_files(Path("."), HISTORIES)
    make_table("item_text", ITEMS, 6, 1).save("text.npz")
    values: dict[str, Any] = {
        "data_path": ".",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "epochs": 1,
        "state": "ERROR",
    }
    if model == "UR4Rec":
        values |= SMALL | {"item_text_table": "text.npz", "stages": ["pretrain_sasrec"]}
    return run(model, "toy", config_dict=values | settings)


def scores(model: Any, part: Any) -> torch.Tensor:
    rows = part[np.arange(len(part))]
    with torch.no_grad():
        return torch.as_tensor(np.asarray(model.eval().full_sort_predict(rows)))


def refuse(*_: Any, **__: Any) -> Any:
    pytest.fail("something was unpickled")


@pytest.mark.parametrize("model", ["UR4Rec", "SASRec", "BPR", "EASE", "ItemKNN", "Pop"])
def test_a_folder_gives_the_trained_model_and_its_data(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = train(model, **({"train_neg_sample_args": None} if model == "SASRec" else {}))
    for owner, name in ((torch, "load"), (pickle, "load"), (pickle, "Unpickler")):
        monkeypatch.setattr(owner, name, refuse)
    found = load(made.folder)
    assert type(found.model) is type(made.model) and not found.model.training
    assert found.config["model"] == model
    assert len(found.valid) == len(found.test) == 12
    torch.testing.assert_close(scores(found.model, found.test), scores(made.model, found.test))


def test_the_result_is_the_model_its_metrics_and_where_they_are() -> None:
    made = train(stages=["pretrain_sasrec", "pretrain_retriever"])
    assert made.folder == Path(made["run_folder"]) and made.folder.parent == Path("runs")
    assert made["model_file"] == str(made.folder / "model.pth")
    assert made.metrics["test"] == made["test"] and made.metrics["valid"] == made["valid"]
    written = RunFolder.open(made.folder).findings()
    assert [each.name for each in made.findings] == [each["name"] for each in written]
    assert not Path("saved").exists()


def test_recboles_own_tools_read_the_checkpoint() -> None:
    made = train()
    _, model, _, _, _, test = load_data_and_model(made["model_file"])
    assert torch.equal(scores(model, test._dataset), scores(made.model, test._dataset))
    assert torch.equal(
        scores(load(made["model_file"]).model, test._dataset), scores(model, test._dataset)
    )


def test_a_checkpoint_folder_of_the_users_gets_files_that_collide_with_nothing() -> None:
    files = {train(checkpoint_dir="kept")["model_file"] for _ in range(2)}
    assert len(files) == 2
    assert {str(path) for path in Path("kept").iterdir()} == files


@pytest.mark.parametrize("place", ["run", "model_file"])
@pytest.mark.parametrize("change", ["table", "times", "order"])
def test_what_was_trained_on_other_inputs_is_refused(place: str, change: str) -> None:
    made = train(run_folder="run")
    path = "run" if place == "run" else made["model_file"]
    load(path)
    file = Path("toy/toy.inter")
    head, *lines = file.read_text().splitlines()
    if change == "table":
        make_table("item_text", ITEMS, 6, 2).save("text.npz")
    elif change == "times":  # the last of all, which is a test target's
        *words, time = lines[-1].split("\t")
        lines[-1] = "\t".join([*words, str(int(time) + 1)])
    else:  # the same interactions, but other internal ids
        lines.reverse()
    file.write_text("\n".join([head, *lines]) + "\n")
    key = "item_text_table" if change == "table" else "data set"
    with pytest.raises(InputError, match=f"{key}.*SHA-256 [0-9a-f]{{64}}.*SHA-256 [0-9a-f]{{64}}"):
        load(path)


def test_the_same_table_in_another_file_is_the_same() -> None:
    made = train()
    table = make_table("item_text", ITEMS, 6, 1)
    table.provenance["note"] = "written anew"
    table.save("text.npz")
    load(made.folder)


def test_tokens_lie_in_the_order_of_the_ids() -> None:
    made = train()
    with np.load(made.folder / saved.TOKENS, allow_pickle=False) as tokens:
        found = load(made.folder).train.field2id_token
        assert tokens["items"].tolist() == list(found["item_id"])
        assert tokens["users"].tolist() == list(found["user_id"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (saved.ABOUT, b"{"),
        (saved.ABOUT, b'{"model": 3}'),
        (saved.WEIGHTS, b"no tensors"),
        (saved.ABOUT, b"\xff\xfe"),
    ],
)
def test_a_damaged_model_is_a_message(name: str, content: bytes) -> None:
    made = train()
    (made.folder / name).write_bytes(content)
    with pytest.raises(InputError, match="Train the model again"):
        load(made.folder)


def test_what_is_no_model_is_a_message(tmp_path: Path) -> None:
    Path("no.pth").write_bytes(b"no checkpoint")
    for path, rule in (
        ("nowhere", "run's folder"),
        (".", "run.json"),
        ("no.pth", "RecBole's form"),
    ):
        with pytest.raises(InputError, match=rule):
            load(path)


def test_a_folder_does_not_choose_what_is_unpickled() -> None:
    named = {"members": ["a.pth"], "save_dataset": True, "dataloaders_save_path": "b.pth"}
    kept = {"n_layers": 2, "pre_model_path": "encoder.pth"}  # UR4Rec's is read without unpickling
    assert saved.without_pickles("UR4Rec", named | kept) == kept
    with pytest.raises(InputError, match="'pre_model_path' must be unset"):
        saved.without_pickles("S3Rec", {"pre_model_path": "a.pth"})
