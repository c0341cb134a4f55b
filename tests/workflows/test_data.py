"""Data sets: with and without item columns, with feature columns of RecBole's own, split before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sequences
from tests.data.test_presplit import FILES, leave_one_out, write_split

KINDS = ("interactions alone", "item columns", "preloaded features", "split files", "filtered")


@pytest.fixture(scope="module")
def found(
    folder: Path, settings: dict[str, Any], runs: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    tokens = [f"i{n}" for n in range(1, 21)]
    items = "\n".join(f"{token}\tThe {token}\tred blue" for token in tokens)
    (folder / "toy/toy.item").write_text(f"item_id:token\ttitle:token\tclass:token_seq\n{items}\n")
    vectors = "\n".join(f"{token}\t0.5 {place}" for place, token in enumerate(tokens))
    (folder / "toy/toy.vectors").write_text(f"vid:token\tvector:float_seq\n{vectors}\n")
    inter = settings["load_col"]
    write_split(folder / "split", leave_one_out(sequences()), cut=5, times=True)
    columns = ["user_id", "item_id_list", "item_id", "timestamp_list", "timestamp"]
    return runs({
        "interactions alone": settings,
        "item columns": settings | {
            "load_col": inter | {"item": ["item_id", "title", "class"]}, "genre_weight": 0.1,
        },
        "preloaded features": settings | {
            "load_col": inter | {"vectors": ["vid", "vector"]},
            "additional_feat_suffix": ["vectors"], "alias_of_item_id": ["vid"],
            "preload_weight": {"vid": "vector"},
        },
        "split files": settings | {
            "data_path": str(folder / "split"), "load_col": {"inter": columns},
            "benchmark_filename": FILES, "alias_of_item_id": ["item_id_list"],
        },
        "filtered": settings | {"user_inter_num_interval": "[4,inf)", "rm_dup_inter": "first"},
    })  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_trains(found: dict[str, Any], kind: str) -> None:
    assert "error" not in found[kind], found[kind]
    assert all(0 <= value <= 1 for value in found[kind]["test"].values())


def test_parts_are_the_same_whatever_else_is_loaded(found: dict[str, Any]) -> None:
    targets = found["interactions alone"]["targets"]
    assert found["item columns"]["targets"] == targets
    assert found["preloaded features"]["targets"] == targets
    assert found["split files"]["targets"] == targets
    assert sum(found["filtered"]["targets"]) < sum(targets)


def test_features_of_recboles_own_are_one_row_an_item(toy: Any, tmp_path: Path) -> None:
    def with_vectors(name: str) -> dict[str, Any]:
        return {
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "vectors": ["vid", name]},
            "additional_feat_suffix": ["vectors"], "alias_of_item_id": ["vid"],
            "preload_weight": {"vid": name},
        }  # fmt: skip

    (tmp_path / "data1/toy").mkdir(parents=True)
    (tmp_path / "data1/toy/toy.vectors").write_text(
        "vid:token\tvector:float_seq\n" + "\n".join(f"i{n}\t{n} 7" for n in range(1, 21)) + "\n"
    )
    made = toy(**with_vectors("vector"))
    matrix = made.train.get_preload_weight("vid")
    assert matrix[made.item_ids(["i3", "i20"])].tolist() == [[3, 7], [20, 7]]
