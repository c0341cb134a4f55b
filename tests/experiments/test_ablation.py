"""An ablation: entries share a trained first stage, and no test data is read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from tests.experiments.test_benchmark import REPOSITORY, command
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import benchmark, benchmark_job
from ur4rec_recbole.experiments.jobs import digest
from ur4rec_recbole.experiments.plan import Plan, check_configurations, make_plan, read_plan
from ur4rec_recbole.reports import ablation
from ur4rec_recbole.runs.folder import RunFolder

RESULTS = REPOSITORY / "docs" / "results"


def values(folder: Path, **more: Any) -> dict[str, Any]:
    """Return a plan of three entries and one seed on toy data below `folder`."""
    write_atomic_files(folder, sequences([14] * 30, n_items=160))
    settings = {
        **SMALL,
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "stages": ["pretrain_sasrec", "pretrain_retriever"],
    }
    entries = [
        {"name": "full"},
        {"name": "no MoE", "settings": {"n_sub_experts": 0}},
        {"name": "whole", "start_from": None},
    ]
    return {
        "dataset": "toy", "model": "UR4Rec", "evaluate": ["valid"], "start_from": "full",
        "settings": settings, "entries": entries,
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """Run the plan's jobs, in this process."""
    folder = tmp_path_factory.mktemp("ablation")
    plan, output = make_plan(values(folder)), folder / "runs"
    output.mkdir()
    jobs = benchmark.with_folders(plan.jobs(), output)
    benchmark._write_index(plan, jobs, output)
    for job in jobs:
        benchmark_job.run(job.description(), output / job.id)
    return plan, output


def test_entries_start_from_one_trained_encoder(made: tuple[Plan, Path]) -> None:
    _, output = made
    [first] = [each for each in (output / "first").iterdir() if each.is_dir()]
    trained = torch.load(first / "1-pretrain_sasrec.pth", weights_only=True)
    for name in ("full-2020", "no-moe-2020"):
        run = RunFolder.open(output / name)
        assert [stage["stage"] for stage in run.read("stages.json")] == ["pretrain_retriever"]
        begun = torch.load(output / name / "0-initial.pth", weights_only=True)
        own = [key for key in trained if key.startswith(("encoder.", "item_embedding."))]
        assert own
        assert all(torch.equal(begun[key], trained[key]) for key in own)
        assert int(begun["score"]) == 0
    whole = RunFolder.open(output / "whole-2020").read("stages.json")
    assert [stage["stage"] for stage in whole] == ["pretrain_sasrec", "pretrain_retriever"]


def test_no_test_data_is_read(made: tuple[Plan, Path]) -> None:
    for file in made[1].rglob("metrics.json"):
        metrics = json.loads(file.read_text())
        assert metrics["valid"]["full_masked"]
        assert "test" not in metrics


def test_its_table_shows_each_entry_against_the_first(made: tuple[Plan, Path]) -> None:
    _, output = made
    rows = {
        name: RunFolder.open(output / name).read("metrics.json")["valid"]["full_masked"]["ndcg@10"]
        for name in ("full-2020", "no-moe-2020")
    }
    shown = ablation.page(output)
    difference = rows["no-moe-2020"] - rows["full-2020"]
    assert f"| no MoE | 1 | {rows['no-moe-2020']:.4f} |" in shown
    assert f"| {difference:+.4f} |" in shown
    assert "Not run yet" not in shown


def test_what_has_not_been_run_is_named(made: tuple[Plan, Path], tmp_path: Path) -> None:
    shutil.copytree(made[1], tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "whole-2020")
    assert "Not run yet, or failed: whole-2020." in ablation.page(tmp_path / "runs")


def test_an_edited_entry_is_run_anew_and_an_old_one_found_again(
    made: tuple[Plan, Path], tmp_path: Path
) -> None:
    plan, output = made
    before = {job.id for job in benchmark.with_folders(plan.jobs(), output)}
    assert before == {"full-2020", "no-moe-2020", "whole-2020"}
    shutil.copytree(output, tmp_path / "runs")
    entries = [
        {"name": "full"},
        {"name": "no MoE", "settings": {"n_sub_experts": 1, "router_top_k": 1}},
    ]
    edited = make_plan(values(tmp_path, settings=plan.settings, entries=entries))
    jobs = benchmark.with_folders(edited.jobs(), tmp_path / "runs")
    assert jobs[0].id == "full-2020"
    assert jobs[1].id.startswith("no-moe-2020-")
    benchmark._write_index(edited, jobs, tmp_path / "runs")
    index = json.loads((tmp_path / "runs" / "benchmark.json").read_text())
    assert set(index["runs"]) == {"full-2020", jobs[1].id, "whole-2020"}
    again = benchmark.with_folders(plan.jobs(), tmp_path / "runs")
    assert {job.id for job in again} == before


def test_an_entry_whose_table_changed_is_another_run(tmp_path: Path) -> None:
    table = {"item_text_table": str(tmp_path / "text.npz")}
    entries = [{"name": "text", "settings": table, "start_from": None}]
    found = []
    for seed in (1, 2):
        make_table("item_text", ["i1"], seed=seed).save(tmp_path / "text.npz")
        [job] = make_plan(values(tmp_path, entries=entries)).jobs()
        found.append(digest(job.description()))
    assert found[0] != found[1]


def test_names_that_look_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    entries = [{"name": name} for name in ("a b", "a_b", "a/b", "ab", "...", "日本")]
    plan = make_plan(values(tmp_path, start_from=None, entries=entries))
    jobs = benchmark.with_folders(plan.jobs(), tmp_path / "runs")
    assert len({job.id for job in jobs}) == len(entries)
    assert all(Path(job.id).name == job.id for job in jobs)
    assert [job.id for job in benchmark.with_folders(plan.jobs(), tmp_path / "runs")] == [
        job.id for job in jobs
    ]


def test_with_an_image_table_the_marked_entries_are_run_again(tmp_path: Path) -> None:
    entries = [
        {"name": "full", "with_images": True},
        {"name": "no MoE", "settings": {"n_sub_experts": 0}},
        {"name": "no image", "settings": {"item_image_table": None}, "with_images": "only"},
    ]
    table = tmp_path / "images.npz"
    given = values(tmp_path, entries=entries, images=str(table))
    assert [each.name for each in make_plan(given).entries] == ["full", "no MoE"]
    make_table("item_image", ["i1"]).save(table)
    found = {each.name: each for each in make_plan(given).entries}
    assert list(found) == ["full", "full, with images", "no MoE", "no image, with images"]
    assert found["full, with images"].settings == {"item_image_table": str(table)}
    assert found["no image, with images"].settings == {"item_image_table": None}
    assert found["full, with images"].start_from == "full"


def test_the_former_form_of_a_plan_is_the_same_plan(tmp_path: Path) -> None:
    now = values(tmp_path)
    base = {"dataset": "toy", **now["settings"]}
    variants = [*now["entries"][:2], {"name": "whole", "whole": True}]
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"base": base, "seeds": 1, "variants": variants}))
    digests = [[digest(job.description()) for job in plan.jobs()]
               for plan in (make_plan(now), read_plan(file))]  # fmt: skip
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"settings": {"stages": ["end_to_end"]}}, "must begin with pretrain_sasrec"),
        ({"settings": {"stages": ["pretrain_sasrec"]}}, "and have more stages"),
        ({"start_from": "ful"}, "Did you mean 'full'"),
        ({"model": "SASRec"}, "is for UR4Rec"),
    ],
)
def test_an_entry_that_cannot_start_from_another_is_refused(
    tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(values(tmp_path, entries=[{"name": "full"}, {"name": "x"} | entry])).jobs()


def test_weights_of_another_shape_are_no_start(toy: Any, tmp_path: Path) -> None:
    torch.save({"encoder.x": torch.zeros(1)}, tmp_path / "other.pth")
    from ur4rec_recbole.runs.assembly import build_trainer

    made = toy(pre_model_path=str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match="must hold the weights of an encoder"):
        build_trainer(made.config, made.loaders[0])


def test_a_wrong_key_of_an_entry_is_told_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"name": "full"}, {"name": "x", "settings": {"hiden_size": 3}}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values(tmp_path, entries=entries)))
    assert command(tmp_path, "plan.yaml", "--folder", "runs", name="ablation") == 2
    assert "Entry x: Configuration key 'hiden_size'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_ablation_is_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = values(tmp_path)
    given["entries"] = given["entries"][:1]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(given))
    words = ("plan.yaml", "--folder", "runs", "--out", "table.md")
    assert command(tmp_path, *words, name="ablation") == 0
    assert "| full | 1 |" in (tmp_path / "table.md").read_text()
    assert "## Without images" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ablation", "encoder_search", "retriever_search"])
def test_every_entry_of_a_documented_plan_is_a_valid_configuration(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = read_plan(Path("properties") / f"{name}.yaml")
    assert not plan.entries[0].settings
    assert all(job.settings["evaluated_parts"] == ["valid"] for job in plan.jobs())
    check_configurations(plan)


def test_the_committed_results_still_make_their_table() -> None:
    shown = ablation.page(RESULTS / "ablation", "small")
    row = "| no contrastive alignment | 3 | {} | +0.0029 ± 0.0016 |"
    assert row.format("0.1668 ± 0.0030 | 0.3029 ± 0.0059") in shown
    assert "| small | 3 | 0.1661 ± 0.0049 | 0.2998 ± 0.0016 | +0.0000 ± 0.0000 |" in shown
    assert shown.index("| small | 3 |") < shown.index("| 100 negatives | 3 |")
