"""A small home for tests of commands: a data set, a table, a run that has ended and its model."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole.commands.main import main

TOY = SMALL | {
    "model": "UR4Rec",
    "dataset": "toy",
    "data_path": "data",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "item_text_table": "text.npz",
    "stages": ["pretrain_sasrec"],
}
TRAIN = "train --config-files toy.yaml"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of it."""
    folder = tmp_path_factory.mktemp("home")
    write_atomic_files(folder / "data", sequences(), [f"i{n}" for n in range(1, 21)])
    (folder / "toy.yaml").write_text(yaml.safe_dump(TOY))
    make_table("item_text", [f"i{n}" for n in range(1, 21)]).save(folder / "text.npz")
    (folder / "images").mkdir()
    (folder / "images" / "i1.jpg").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*TRAIN.split(), "--epochs=0", "--run_folder=run"]) == 0
        assert main("export run --output model".split()) == 0
    for left in ("log", "log_tensorboard", "saved"):
        shutil.rmtree(folder / left, ignore_errors=True)
    return folder


@pytest.fixture(autouse=True)
def at_home(home: Path, tmp_path: Path) -> None:
    """Work in a copy of it."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)


def everything(folder: Path) -> set[tuple[str, int]]:
    """Return the files below a folder and their sizes, without RecBole's logs."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {(str(path.relative_to(folder)), path.stat().st_size) for path in files}
    return {(name, size) for name, size in found if not name.startswith("log")}
