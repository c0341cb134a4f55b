"""RecBole's caches: taken where they are what would be made anew, and not otherwise."""

from pathlib import Path
from typing import Any

import pytest
import recbole.data.utils
from recbole.config import Config

from tests.conftest import SMALL, sequences, write_atomic_files
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs.assembly import load_data

SETTINGS: dict[str, Any] = SMALL | {
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "checkpoint_dir": "cached",
}
RANDOM_SPLIT = {"split": {"RS": [0.2, 0.4, 0.4]}, "order": "TO", "group_by": "user"}


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path) -> None:
    write_atomic_files(tmp_path, sequences())


def load(**settings: Any) -> tuple[Any, ...]:
    loaders = load_data(Config("UR4Rec", "toy", config_dict=SETTINGS | settings))
    return tuple(each._dataset for each in loaders)


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what RecBole unpickles."""
    names, read = [], recbole.data.utils.pickle.load

    def noting(file: Any, **options: Any) -> Any:
        names.extend([file.name] if hasattr(file, "name") else [])  # tensors lie in the file
        return read(file, **options)

    monkeypatch.setattr(recbole.data.utils.pickle, "load", noting)
    return names


@pytest.mark.parametrize("flag", ["save_dataset", "save_dataloaders"])
def test_a_cache_is_taken_only_where_it_is_asked_for(flag: str, unpickled: list[str]) -> None:
    first = load(**{flag: True})
    load()
    assert unpickled == []
    again = load(**{flag: True})
    assert len(unpickled) == 1
    assert [each.fingerprint for each in again] == [each.fingerprint for each in first]


@pytest.mark.parametrize("flag", ["save_dataset", "save_dataloaders"])
@pytest.mark.parametrize(
    "change",
    [
        {"eval_args": RANDOM_SPLIT},
        {"MAX_ITEM_LIST_LENGTH": 3},
        {"user_inter_num_interval": "[5,inf)"},
        {"shuffle_gap": 1e9},
        {"load_col": {"inter": ["item_id", "user_id", "timestamp"]}},
    ],
)
def test_a_cache_of_other_settings_gives_what_they_say(flag: str, change: dict[str, Any]) -> None:
    load(**{flag: True})
    cached, fresh = load(**{flag: True}, **change), load(checkpoint_dir="fresh", **change)
    for left, right in zip(cached, fresh, strict=True):
        assert len(left) == len(right)
        assert left.config["eval_args"] == right.config["eval_args"]
        assert left.config["shuffle_gap"] == right.config["shuffle_gap"]
        assert left.max_item_list_len == right.max_item_list_len


@pytest.mark.parametrize("model", ["UR4Rec", "ItemTransition", "SASRec", "Pop"])
def test_each_model_has_the_interactions_of_today(model: str, tmp_path: Path) -> None:
    """Models of this package share one cache, whichever of them has made it."""
    shared = ("data_path", "load_col", "checkpoint_dir", "state", "topk")
    own = {key: SETTINGS[key] for key in shared}
    settings = own | {"save_dataset": True, "train_neg_sample_args": None}
    load_data(Config("UR4Rec", "toy", config_dict=settings))
    write_atomic_files(tmp_path, sequences([9, 9, 9]))
    data = load_data(Config(model, "toy", config_dict=settings))[0]._dataset
    fresh = load_data(Config(model, "toy", config_dict=settings | {"checkpoint_dir": "fresh"}))
    assert data.fingerprint == fresh[0]._dataset.fingerprint


@pytest.mark.parametrize("flag", ["save_dataset", "save_dataloaders"])
def test_a_cache_of_other_files_is_made_anew(flag: str, tmp_path: Path) -> None:
    before = load(**{flag: True})
    write_atomic_files(tmp_path, sequences([9, 9, 9]))
    after = load(**{flag: True})
    assert after[0].user_num == 4 != before[0].user_num


def test_a_named_cache_of_other_settings_or_files_is_refused(tmp_path: Path) -> None:
    load(save_dataset=True)
    file = "cached/toy-UR4RecDataset.pth"
    load(dataset_save_path=file)
    with pytest.raises(InputError, match="MAX_ITEM_LIST_LENGTH 5; it is now 3"):
        load(dataset_save_path=file, MAX_ITEM_LIST_LENGTH=3)
    write_atomic_files(tmp_path, sequences([9, 9, 9]))
    with pytest.raises(InputError, match="files of SHA-256"):
        load(dataset_save_path=file)
    Path(f"{file}.json").unlink()
    with pytest.raises(InputError, match="one without toy-UR4RecDataset.pth.json"):
        load(dataset_save_path=file)
    with pytest.raises(InputError, match="none of that name"):
        load(dataloaders_save_path="nowhere.pth")
