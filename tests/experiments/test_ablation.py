"""Ablation: a plan becomes one file a run; a second call runs only what is missing."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import SMALL
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import ablation

PLAN = Path(__file__).parents[2] / "properties" / "ablation.yaml"


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
        {"name": "full", "with_images": True},
        {"name": "no MoE", "settings": {"n_sub_experts": 0}},
        {"name": "no images", "settings": {"item_image_table": None}, "with_images": True},
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


def test_with_an_image_table_the_marked_variants_are_measured_again(
    plan: ablation.Plan, tmp_path: Path
) -> None:
    marked = ablation.read_plan(tmp_path / "plan.yaml", None, Path("images.npz"), plan.folder)
    assert [variant.name for variant in marked.variants] == ["full", "no images"]
    assert marked.base["item_image_table"] == "images.npz"
    assert marked.folder != plan.folder
    assert marked.shared == plan.shared


def test_a_folder_holds_runs_of_one_base_configuration(plan: ablation.Plan) -> None:
    ablation.keep_base(plan)
    ablation.keep_base(plan)
    other = replace(plan, base={**plan.base, "hidden_size": 8})
    with pytest.raises(InputError, match="one that began with another"):
        ablation.keep_base(other)


def test_a_page_has_a_table_for_each_part(plan: ablation.Plan) -> None:
    run(plan)
    found = ablation.page(Path("plan.yaml"), {"Without images": plan, "With images": plan})
    assert found.count("| full | 1 |") == 2
    assert "seeds 2020." in found
    assert "Not run yet" not in found


def test_a_page_says_what_has_not_been_run(plan: ablation.Plan) -> None:
    ablation.train_shared(plan, 2020)
    ablation.train_variant(plan, plan.variants[0], 2020)
    found = ablation.page(Path("plan.yaml"), {"Without images": plan})
    assert "| full | 1 |" in found
    assert "Not run yet: no MoE." in found


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


def test_workers_end_with_a_command_that_is_killed(plan: ablation.Plan, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    values = yaml.safe_load(file.read_text())
    values["base"]["stages"] = [{"name": "pretrain_sasrec", "epochs": 10**6, "patience": 10**6}]
    file.write_text(yaml.safe_dump(values))
    line = [sys.executable, "-m", "ur4rec_recbole.experiments.ablation", str(file), "--jobs", "1"]
    line += ["--folder", str(tmp_path / "killed")]
    command = subprocess.Popen(line, env=os.environ | {"PYTHONPATH": str(PLAN.parents[1])})
    process = psutil.Process(command.pid)
    until = time.monotonic() + 120
    while not (workers := [c for c in process.children() if "spawn_main" in str(c.cmdline())]):
        assert time.monotonic() < until
        time.sleep(0.2)
    time.sleep(5)  # it has begun its work
    assert all(worker.is_running() for worker in workers)
    command.kill()
    command.wait()
    assert not psutil.wait_procs(workers, timeout=60)[1]


def test_a_missing_plan_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plan: .*must be a file"):
        ablation.read_plan(tmp_path / "none.yaml", None, None, tmp_path)


def test_the_documented_plan_compares_everything_with_the_preset_itself() -> None:
    for images, least in ((None, 25), (Path("images.npz"), 4)):
        found = ablation.read_plan(PLAN, None, images, Path("runs"))
        assert found.variants[0].settings == {}
        assert len(found.variants) > least


@pytest.mark.parametrize("name", ["ablation", "encoder_search", "retriever_search"])
def test_every_variant_of_a_plan_is_a_valid_configuration(name: str) -> None:
    found = ablation.read_plan(PLAN.with_stem(name), None, None, Path("runs"))
    names = [variant.name for variant in found.variants]
    assert len(names) == len(set(names))
    files = [str(PLAN.parents[1] / file) for file in found.base["config_files"]]
    for variant in found.variants:
        made = replace(found, base={**found.base, "config_files": files})
        ablation._config(made, variant.settings, 2020)
