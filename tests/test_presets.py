"""Presets: each builds, names tables that exist, and has the size that its page states."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recbole.config import Config

from tests.conftest import make_table
from ur4rec_recbole.data.dataset import UR4RecDataset, training_fingerprint
from ur4rec_recbole.data.modalities import load_modalities
from ur4rec_recbole.model.stages import read_stages
from ur4rec_recbole.model.ur4rec import UR4Rec

ALL = sorted((Path(__file__).parents[1] / "properties").glob("*.yaml"))
TEXTS = {file: file.read_text(encoding="utf-8") for file in ALL}
FILES = [  # presets; the others are plans
    file for file, text in TEXTS.items() if "\nmodel: UR4Rec\n" in text and "\nentries:" not in text
]
MILLIONS = {"baseline": 30, "balanced": 42, "aggressive": 71}
PRESET = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


def configure(file: Path, **settings: Any) -> Config:
    return Config(config_file_list=[str(file)], config_dict={"state": "ERROR"} | settings)


@pytest.fixture(scope="module")
def tables(
    tmp_path_factory: pytest.TempPathFactory, ml100k: tuple[UR4RecDataset, ...]
) -> dict[str, str]:
    """Tables of the widths that the presets are meant for: texts of 384, profiles of 384."""
    train, folder = ml100k[0], tmp_path_factory.mktemp("tables")
    items = train.field2id_token["item_id"][1:]
    users = train.field2id_token["user_id"][1:]
    source = training_fingerprint(train)
    made = {
        "item_text_table": make_table("item_text", items, 384),
        "user_profile_table": make_table(
            "user_profile", users, 384, lengths=np.ones(len(users)), source=source
        ),
    }
    for key, table in made.items():
        table.save(folder / f"{key}.npz")
    return {key: str(folder / f"{key}.npz") for key in made}


def test_the_presets_are_there() -> None:
    names = {file.stem for file in FILES}
    assert {"small", "baseline", "balanced", "aggressive", "phase3"} <= names


@PRESET
def test_a_preset_builds(
    file: Path, tables: dict[str, str], ml100k: tuple[UR4RecDataset, ...]
) -> None:
    config = configure(file)
    given = {key: path for key, path in tables.items() if config[key] is not None}
    model = UR4Rec(configure(file, **given), ml100k[0])
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{file.stem}: {count / 1e6:.1f}M parameters")
    if file.stem in MILLIONS:
        assert count / 1e6 == pytest.approx(MILLIONS[file.stem], rel=0.1)


@PRESET
def test_the_tables_of_a_preset_are_shipped_and_fit_ml100k(
    file: Path, ml100k: tuple[UR4RecDataset, ...]
) -> None:
    config = configure(file)
    found = load_modalities(config, ml100k[0])
    named = [key for key in ("item_text_table", "item_image_table") if config[key]]
    assert len(found.items) == len(named)
    assert (found.profile is not None) == bool(config["user_profile_table"])
    for feature in found.items.values():
        assert feature.present.float().mean() > 0.9


@PRESET
def test_the_stages_of_a_preset_are_sound(file: Path) -> None:
    stages = read_stages(configure(file))
    assert stages
    assert all(stage.epochs > 0 for stage in stages)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("baseline", {"hidden_size": 512, "n_layers": 3, "n_heads": 8, "num_negatives": 20,
                      "train_batch_size": 16, "hidden_dropout_prob": 0.1, "epochs": 25,
                      "stopping_step": 15, "n_sub_experts": 1}),
        ("balanced", {"hidden_size": 512, "n_layers": 4, "n_heads": 8, "num_negatives": 100,
                      "train_batch_size": 16, "hidden_dropout_prob": 0.3,
                      "time_intervals": True, "n_sub_experts": 3, "expert_heads": 8,
                      "expert_dropout_prob": 0.3, "n_proxy_tokens": 8, "MAX_ITEM_LIST_LENGTH": 50}),
        ("phase3", {"hidden_size": 512, "n_layers": 4, "n_heads": 8, "num_negatives": 200,
                    "contrastive_temperature": 0.07, "contrastive_weight": 0.3,
                    "fusion": "gated", "hidden_dropout_prob": 0.3, "n_sub_experts": 3}),
        ("aggressive", {"hidden_size": 768, "n_layers": 6, "n_heads": 12, "num_negatives": 500,
                        "train_batch_size": 32, "hidden_dropout_prob": 0.1, "epochs": 50,
                        "stopping_step": 25, "n_sub_experts": 3}),
    ],
)  # fmt: skip
def test_a_preset_has_the_values_of_the_design(name: str, expected: dict[str, Any]) -> None:
    config = configure(next(file for file in FILES if file.stem == name))
    assert {key: config[key] for key in expected} == expected
    assert [stage.name for stage in read_stages(config)] == [
        "pretrain_sasrec", "pretrain_retriever", "joint_finetune", "end_to_end",
    ]  # fmt: skip
