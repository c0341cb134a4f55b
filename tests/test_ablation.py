"""Ablation: a plan becomes one file a run; a second call runs only what is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SMALL
from ur4rec_recbole import ablation
from ur4rec_recbole.errors import InputError

PLAN = Path(__file__).parents[1] / "properties" / "ablation.yaml"


@pytest.fixture
def plan(toy: Any, tmp_path: Path) -> ablation.Plan:
    """Return a plan of two variants and one seed on toy data."""
    made = toy()
    base = dict(SMALL) | {
        "dataset": "toy",
        "data_path": made.config["data_path"].rsplit("/", 1)[0],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "stages": ["pretrain_sasrec", "pretrain_retriever"],
    }
    file = tmp_path / "plan.yaml"
    variants = [
        {"name": "full"},
        {"name": "no MoE", "settings": {"n_sub_experts": 0}},
        {"name": "no images", "settings": {"item_image_table": None}},
    ]
    file.write_text(yaml.safe_dump({"base": base, "seeds": 1, "variants": variants}))
    found = ablation.read_plan(file, None, None, tmp_path / "runs")
    found.folder.mkdir()
    return found


def run(plan: ablation.Plan) -> None:
    for seed in plan.seeds:
        ablation.train_shared(plan, seed)
        for variant in plan.variants:
            ablation.train_variant(plan, variant, seed)


def test_without_an_image_table_its_rows_are_left_out(plan: ablation.Plan) -> None:
    assert [variant.name for variant in plan.variants] == ["full", "no MoE"]


def test_a_plan_leaves_a_file_a_run_and_a_row_a_variant(plan: ablation.Plan) -> None:
    run(plan)
    files = sorted(plan.folder.glob("*.json"))
    assert [file.name for file in files] == ["full-2020.json", "no_MoE-2020.json"]
    for file in files:
        found = json.loads(file.read_text())
        assert [stage["stage"] for stage in found["stages"]] == ["pretrain_retriever"]
        assert 0 <= found["valid"]["ndcg@10"] <= 1
    shown = ablation.table(plan)
    assert "| full | 1 |" in shown
    assert "| no MoE | 1 |" in shown


def test_variants_start_from_the_shared_encoder(
    plan: ablation.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation.train_shared(plan, 2020)
    given = []
    fit = ablation._fit

    def spy(config: Any, start: Any = None) -> Any:
        given.append(start)
        return fit(config, start)

    monkeypatch.setattr(ablation, "_fit", spy)
    ablation.train_variant(plan, plan.variants[0], 2020)
    whole = ablation.Variant("whole", {"stages": ["pretrain_retriever"]}, whole=True)
    ablation.train_variant(plan, whole, 2020)
    assert given[0] is not None
    assert given[1] is None


def test_a_run_that_is_there_is_not_repeated(plan: ablation.Plan) -> None:
    run(plan)
    before = {file: file.stat().st_mtime_ns for file in plan.folder.glob("*.json")}
    (gone, *_) = before
    gone.unlink()
    run(plan)
    after = {file: file.stat().st_mtime_ns for file in plan.folder.glob("*.json")}
    assert {file for file in after if before[file] != after[file]} == {gone}


def test_a_missing_plan_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plan: .*must be a file"):
        ablation.read_plan(tmp_path / "none.yaml", None, None, tmp_path)


def test_every_variant_of_the_documented_plan_is_a_valid_configuration() -> None:
    found = ablation.read_plan(PLAN, None, Path("images.npz"), Path("runs"))
    names = [variant.name for variant in found.variants]
    assert len(names) == len(set(names)) > 25
    assert found.variants[0].settings == {}
    for variant in found.variants:
        root = PLAN.parents[1]
        files = [str(root / file) for file in found.base["config_files"]]
        base = {**found.base, "config_files": files}
        made = ablation.Plan(base, found.variants, found.seeds, found.folder)
        ablation._config(made, variant.settings, 2020)
