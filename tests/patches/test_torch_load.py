"""torch_load: RecBole's checkpoints load again, and nobody else's loading becomes unsafe."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.quick_start import load_data_and_model

from tests.conftest import SMALL, make_table, recbole_alone, sequences, write_atomic_files
from ur4rec_recbole import InputError, run
from ur4rec_recbole.patches import torch_load


class Anything:
    """A class that torch's safe loading does not know."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"config": Anything()}, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def test_torchs_own_loading_is_as_it_was(file: Path) -> None:
    assert torch.load.__module__ == "torch.serialization"
    with pytest.raises(Exception, match="weights_only"):
        torch.load(file)


def test_a_named_file_is_unpickled_while_the_call_runs(file: Path) -> None:
    with torch_load.unpickling(str(file)):
        assert isinstance(torch.load(file)["config"], Anything)
        with pytest.raises(Exception, match="weights_only"):
            torch.load(file, weights_only=True)
    assert torch.load.__module__ == "torch.serialization"


def test_another_file_or_thread_keeps_the_safe_default(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(file.read_bytes())
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            torch.load(file)
        except Exception as error:
            errors.append(error)

    with torch_load.unpickling(file):
        with pytest.raises(Exception, match="weights_only"):
            torch.load(other)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert "weights_only" in str(errors[0])


def test_calls_inside_each_other_each_have_their_file(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(file.read_bytes())
    with torch_load.unpickling(file):
        with torch_load.unpickling(other, None, ""):
            torch.load(other)
            torch.load(file)
        torch.load(file)
        with pytest.raises(Exception, match="weights_only"):
            torch.load(other)


def test_recboles_trainer_reads_its_checkpoints(toy: Any) -> None:
    made = toy(model="SASRec", train_neg_sample_args=None, epochs=1)
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    best = trainer.evaluate(made.loaders[1], load_best_model=True)
    assert trainer.evaluate(made.loaders[1], model_file=trainer.saved_model_file) == best
    again = made.new_trainer(made.new_model(seed=5))
    again.resume_checkpoint(trainer.saved_model_file)
    assert again.evaluate(made.loaders[1], load_best_model=False) == best
    _, model, *_ = load_data_and_model(trainer.saved_model_file)
    state = made.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_checkpoint_is_refused_where_its_data_or_tables_have_changed(tmp_path: Path) -> None:
    tokens = [f"i{n}" for n in range(1, 21)]
    write_atomic_files(tmp_path, sequences())
    make_table("item_text", tokens).save("text.npz")
    settings = SMALL | {
        "data_path": ".", "stages": ["pretrain_sasrec"], "item_text_table": "text.npz",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "epochs": 0,
    }  # fmt: skip
    checkpoint = run("UR4Rec", "toy", config_dict=settings)["model_file"]
    load_data_and_model(checkpoint)
    make_table("item_text", tokens, seed=1).save("text.npz")
    with pytest.raises(InputError, match="needs the table of item_text_table, as it was"):
        load_data_and_model(checkpoint)
    make_table("item_text", tokens).save("text.npz")
    inter = tmp_path / "toy" / "toy.inter"
    inter.write_text(inter.read_text() + "u1\ti9\t99999\n")
    with pytest.raises(InputError, match="needs the data set.*as it was"):
        load_data_and_model(checkpoint)


@recbole_alone
def test_a_name_bound_before_the_package_was_imported_is_repaired_too(toy: Any) -> None:
    made = toy(model="SASRec", train_neg_sample_args=None, epochs=1)
    trainer = made.new_trainer()
    trainer.fit(made.loaders[0], made.loaders[1], verbose=False)
    script = (
        "from recbole.quick_start import load_data_and_model as load; import ur4rec_recbole;"
        f"print(type(load({trainer.saved_model_file!r})[1]).__name__)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip().splitlines()[-1] == "SASRec", found.stderr[-2000:]


def test_every_model_that_reads_a_pretrained_file_is_known() -> None:
    """The list is that of RecBole's models which call torch.load."""
    import recbole.model

    [root] = recbole.model.__path__
    callers = {
        file.stem for file in Path(root).rglob("*.py") if "torch.load(" in file.read_text("utf-8")
    }
    assert callers == {place.split(".")[1] for place in torch_load.PRETRAINED}
