"""Members: recipes become checkpoints, once each, and without reading test data."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from recbole.config import Config

from tests.conftest import SMALL
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model import saved
from ur4rec_recbole.runs import members
from ur4rec_recbole.training.trainer import UR4RecTrainer

MODEL = {key: value for key, value in SMALL.items() if key not in ("topk", "state")}
RECIPES = [
    {"model": "UR4Rec", "seeds": 2, "stages": ["pretrain_sasrec"], **MODEL},
    {"model": "SequentialEASE", "MAX_ITEM_LIST_LENGTH": 5},
]


@pytest.fixture
def ensemble(toy: Any, tmp_path: Path) -> Any:
    """Return a factory of ensemble configurations on one toy data set."""
    made = toy()
    shared = {
        "data_path": made.config["data_path"].rsplit("/", 1)[0],
        "load_col": made.config["load_col"],
        "checkpoint_dir": str(tmp_path / "saved"),
        "state": "ERROR",
        "seed": 5,
    }

    def build(recipes: list[Any]) -> Config:
        return Config("UR4RecEnsemble", "toy", config_dict=shared | {"members": recipes})

    return build


def test_each_seed_of_a_recipe_becomes_a_checkpoint(ensemble: Any) -> None:
    files = members.prepare(ensemble(RECIPES))
    read = [saved.read(Path(file)).config for file in files]
    found = [(config["model"], config["seed"]) for config in read]
    assert found == [("UR4Rec", 5), ("UR4Rec", 6), ("SequentialEASE", 5)]
    assert len(set(files)) == 3


def test_a_member_that_exists_is_not_trained_again(
    ensemble: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = members.prepare(ensemble(RECIPES))
    shutil.rmtree(first[1])
    trained = []
    fit = UR4RecTrainer.fit

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        trained.append(self.config["seed"])
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(UR4RecTrainer, "fit", counted)
    assert members.prepare(ensemble(RECIPES)) == first
    assert trained == [6]


def test_a_member_that_another_process_trains_is_waited_for(
    ensemble: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = map(Path, members.prepare(ensemble(RECIPES[1:])))
    file.rename(tmp_path / "trained")
    monkeypatch.setattr(members, "build_trainer", lambda *args: pytest.fail("trained twice"))
    asked, lock = Event(), members.exclusive_lock

    def watched(path: Any) -> Any:
        asked.set()
        return lock(path)

    monkeypatch.setattr(members, "exclusive_lock", watched)
    with ThreadPoolExecutor(1) as pool:
        with lock(f"{file}.lock"):
            found = pool.submit(members.prepare, ensemble(RECIPES[1:]))
            assert asked.wait(60)
            (tmp_path / "trained").rename(file)
        assert found.result(60) == [str(file)]


def test_what_members_cost_is_kept_beside_them(ensemble: Any) -> None:
    files = members.prepare(ensemble(RECIPES))
    first = members.cost([*files, "some/given.pth"])
    assert [each["member"] for each in first] == [*(Path(file).name for file in files), "given"]
    assert all(each["seconds"] > 0 for each in first[:3])
    assert first[3]["seconds"] is None
    members.prepare(ensemble(RECIPES))  # they exist
    assert members.cost(files) == first[:3]


def test_other_settings_make_another_member(ensemble: Any) -> None:
    plain = members.prepare(ensemble([{"model": "SequentialEASE"}]))
    other = members.prepare(ensemble([{"model": "SequentialEASE", "ease_regularisation": 9.0}]))
    assert plain != other


def test_the_command_line_of_the_ensemble_is_not_its_members(
    ensemble: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ensemble([{"model": "SequentialEASE"}])
    monkeypatch.setattr("sys.argv", ["run", "--model=UR4RecEnsemble", "--seed=99"])
    (file,) = members.prepare(config)
    assert saved.read(Path(file)).config["model"] == "SequentialEASE"


def test_a_member_is_trained_on_the_interactions_of_the_ensemble(ensemble: Any) -> None:
    """Filters of the ensemble decide which interaction is a target that nobody may train on."""
    config = ensemble(["file"])
    few = {"user_inter_num_interval": "[6,inf)", "rm_dup_inter": "first"}
    filtered = Config(
        "UR4RecEnsemble", "toy", config_dict={**config.external_config_dict, **few,
                                              "members": [{"model": "SequentialEASE"}]},
    )  # fmt: skip
    (file,) = members.prepare(filtered)
    found = saved.read(Path(file)).config
    assert {key: found[key] for key in few} == few


def test_what_a_recipe_sets_in_its_files_is_its_own(ensemble: Any, tmp_path: Path) -> None:
    file = tmp_path / "member.yaml"
    file.write_text("normalize_all: True")
    given = ensemble(["file"]).external_config_dict | {"normalize_all": False}
    plain = {"model": "SequentialEASE"}
    recipes = [plain, plain | {"config_files": [str(file)]}]
    made = Config("UR4RecEnsemble", "toy", config_dict=given | {"members": recipes})
    found = [saved.read(Path(each)).config["normalize_all"] for each in members.prepare(made)]
    assert found == [False, True]


def test_a_recipe_of_other_data_is_refused_before_it_is_trained(ensemble: Any) -> None:
    recipe = {"model": "SequentialEASE", "item_inter_num_interval": "[5,inf)"}
    config = ensemble([recipe])
    with pytest.raises(InputError, match="item_inter_num_interval of SequentialEASE must be"):
        members.prepare(config)
    assert not list(Path(config["checkpoint_dir"]).glob("members/*"))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"model": "SASRec"}, "must be accepted by RecBole"),
        ({"model": "SASRec", "train_neg_sample_args": None, "hiden_size": 8}, "hidden_size"),
    ],
)
def test_a_recipe_is_checked_as_a_run_is(ensemble: Any, recipe: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        members.prepare(ensemble([recipe]))


def test_files_are_taken_as_they_are(ensemble: Any) -> None:
    assert members.prepare(ensemble(["some/file.pth"])) == ["some/file.pth"]


def test_a_model_that_cannot_be_kept_is_refused(ensemble: Any) -> None:
    with pytest.raises(InputError, match="can be kept"):
        members.prepare(ensemble([{"model": "External"}]))


def test_an_entry_that_is_neither_file_nor_recipe_is_refused(ensemble: Any) -> None:
    with pytest.raises(
        InputError, match="members must list folders or checkpoint files, or mappings"
    ):
        members.prepare(ensemble([{"seeds": 3}]))
