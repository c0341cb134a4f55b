"""`ur4rec doctor`: what it counts is right, and settings known to fail are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole.commands import main as cli
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.runs import doctor

HISTORIES = sequences([14] * 12, n_items=400)
ITEMS = sorted({item for history in HISTORIES.values() for item in history})


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    """Write data and a YAML file; return its name."""

    def write(**settings: Any) -> str:
        write_atomic_files(tmp_path, HISTORIES)
        values = SMALL | {
            "model": "UR4Rec",
            "dataset": "toy",
            "data_path": str(tmp_path),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "train_batch_size": 16,
        }
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(values | settings))
        return str(tmp_path / "toy.yaml")

    return write


@pytest.fixture
def alike(tmp_path: Path) -> str:
    """A table whose neighbours share users, in an order of its own."""
    generator = np.random.default_rng(0)
    owner = {item: n for n, history in enumerate(HISTORIES.values()) for item in history}
    centres = generator.normal(size=(len(HISTORIES), 8))
    tokens = generator.permutation(ITEMS)
    vectors = np.array([centres[owner[t]] + 0.1 * generator.normal(size=8) for t in tokens])
    provenance = make_table("item_text", ITEMS).provenance
    FeatureTable(tokens, vectors.astype(np.float32), provenance).save(tmp_path / "text.npz")
    return str(tmp_path / "text.npz")


def test_a_sound_set_up_has_no_warning(
    configured: Any, alike: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = configured(item_text_table=alike)
    assert cli.main(["doctor", "--config_files", file]) == 0
    out = capsys.readouterr().out
    assert f"12 users, {len(ITEMS)} items, 132 training targets in 36 windows" in out
    assert "repeats: 0.0% of the validation targets" in out
    assert "modality text: width 8, 100.0% of items" in out
    assert "stage end_to_end: 3 steps of " in out
    assert "No warning." in out


def test_ones_own_data_need_no_configuration_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_atomic_files(tmp_path, HISTORIES)
    words = [f"--{key}={value}" for key, value in SMALL.items()]
    code = cli.main(["doctor", "--dataset", "toy", "--data-path", str(tmp_path), *words])
    told = capsys.readouterr()
    assert code == 1, told.err
    assert f"12 users, {len(ITEMS)} items" in told.out


def test_a_split_without_validation_is_told_of_as_far_as_it_goes(
    configured: Any, alike: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = configured(item_text_table=alike)
    split = "--eval_args={split: {LS: test_only}, order: TO}"
    assert cli.main(["doctor", "--config_files", file, split]) == 0
    out = capsys.readouterr().out
    assert "0 validation and 12 test rows" in out and "recommended preset: sparse" in out
    assert "nan" not in out and "validation targets" not in out


def test_tables_with_mixed_up_ids_are_a_warning(
    configured: Any, alike: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = FeatureTable.load(alike)
    mixed = np.random.default_rng(1).permutation(table.tokens)
    FeatureTable(mixed, table.vectors, table.provenance).save(tmp_path / "mixed.npz")
    file = configured(item_text_table=str(tmp_path / "mixed.npz"))
    assert cli.main(["doctor", "--config_files", file]) == 1
    assert "WARNING: the text table" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_size": 128}, "training interactions of 12 users: expect overfitting"),
        ({"num_negatives": 60}, f"60 negatives of {len(ITEMS)} items"),
        ({"train_batch_size": 30}, "30 windows a step of 36"),
        ({"learning_rate": 1.0}, "learning_rate 1 is too high"),
        ({}, "every modality is masked"),
    ],
)
def test_settings_known_to_fail_are_named(
    configured: Any, settings: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--config_files", configured(**settings)]) == 1
    assert words in capsys.readouterr().out


def test_parameters_are_counted(full_toy: Any) -> None:
    model = full_toy().model
    assert doctor.parameters(model) == sum(p.numel() for p in model.parameters())


def test_an_epoch_costs_its_steps_and_its_validation() -> None:
    cost = doctor.StageCost("a", 10, 4, 0.5, 3.0, 2e9)
    assert cost.epoch == 5.0
    (line, total, *_) = doctor.estimate([cost, cost], _Weightless())
    assert "5.0 s and 2.0 GFLOP an epoch, at most 10 epochs = 0.8 min" in line
    assert total.startswith("stage a")


class _Weightless:
    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config_files", "nowhere.yaml"], "must be a file"),
        (["--model", "SASRec", "--dataset", "ml-100k"], "must be UR4Rec"),
        (["--preset", "small", "--hiden_size=32"], "Did you mean 'hidden_size'?"),
    ],
)
def test_bad_input_is_a_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_recommended_preset_follows_from_the_data(toy: Any) -> None:
    few = toy()  # a dozen users and twenty items
    said = doctor.recommended_preset(few.train, few.valid, has_texts=False)
    assert "sparse" in said and "ur4rec extract text" in said
    assert "request_time" not in said
    many = toy({f"u{n}": [f"i{(n + k) % 6}" for k in range(6)] for n in range(40)})
    assert "preset: small" in doctor.recommended_preset(many.train, many.valid, has_texts=True)


def test_request_times_are_recommended_where_others_choose_the_same_of_late(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DAY", 20.0)  # seconds; a step of all users takes 24
    fashion = {f"u{n}": [f"i{5 * k + n % 5}" for k in range(10 + 2 * (n % 2))] for n in range(24)}
    moving = toy(fashion)
    said = doctor.recommended_preset(moving.train, moving.valid, has_texts=True)
    assert "recommended: request_time: True" in said
