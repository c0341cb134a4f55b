"""A benchmark on toy data: runs, failures, kills, restarts, the search and the report."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import SMALL, sequences, write_atomic_files
from ur4rec_recbole.commands import main as cli
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock
from ur4rec_recbole.experiments import benchmark, jobs
from ur4rec_recbole.experiments.plan import make_plan
from ur4rec_recbole.reports import (
    benchmark_page,
    benchmark_plots,
    benchmark_results,
    benchmark_tables,
)
from ur4rec_recbole.runs.folder import RunFolder

REPOSITORY = Path(__file__).parents[2]
JOBS = ("--jobs", str(min(2, os.cpu_count() or 1)))  # one thread each on two cores
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TINY = {key: value for key, value in SMALL.items() if key not in ("topk", "eval_batch_size")}


def plan_values(folder: Path, **more: Any) -> dict[str, Any]:
    """Return a plan of tiny models on a toy data set below `folder`."""
    write_atomic_files(folder, sequences([14] * 30, n_items=160))
    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "metrics": ["Hit", "NDCG", "MRR"],
        "valid_metric": "NDCG@10",
        "topk": [5, 10, 20],
        "show_progress": False,
    }
    entries = [
        {"name": "Ours", "model": "UR4Rec", "settings": TINY, "seeds": [1]},
        {"name": "GRU", "model": "GRU4Rec", "seeds": [1, 2],
         "settings": {"epochs": 2, "hidden_size": 8, "loss_type": "CE",
                      "train_neg_sample_args": None}},
        {"name": "Popularity", "model": "Pop", "settings": {"train_neg_sample_args": None}},
        {"name": "Broken", "model": "GRU4Rec", "settings": {"loss_type": "none",
         "train_neg_sample_args": None}},
    ]  # fmt: skip
    return {
        "dataset": "toy", "baseline": "GRU", "settings": settings, "entries": entries
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the plan once, as the command does, and return the folder of its runs."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan_values(folder)))
    assert command(folder, "plan.yaml", "--output", "runs") == 1  # one run fails
    return folder / "runs"


def command(folder: Path, *words: str, name: str = "benchmark") -> int:
    """Run `ur4rec benchmark` in a folder; its runs are processes, it is not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setattr(sys, "argv", ["ur4rec"])
        return cli.main([name, *words, *JOBS])


def start(folder: Path, *words: str, **options: Any) -> subprocess.Popen:
    """Run the same in a process of its own, which hears Ctrl-C.

    A shell that starts these tests in the background has it ignored, and children inherit that.
    """
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    line = [sys.executable, "-m", "ur4rec_recbole", "benchmark", *words, *JOBS]
    return subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options,
    )  # fmt: skip


def test_a_failed_run_keeps_its_traceback_and_stops_no_other(made: Path) -> None:
    found = benchmark_results.read(made)
    assert {name: len(runs) for name, runs in found.runs.items()} == {
        "Ours": 1, "GRU": 2, "Popularity": 1
    }  # fmt: skip
    assert list(found.failures) == ["broken-2020"]
    assert "Traceback" in found.failures["broken-2020"]
    assert "loss_type" in found.failures["broken-2020"]


def test_an_ensemble_costs_what_its_members_do_whoever_trained_them(tmp_path: Path) -> None:
    recipes = [{"model": "SequentialEASE", "seeds": 2}]  # seeds 1 and 2, 2 and 3
    entry = {"name": "Both", "model": "UR4RecEnsemble", "seeds": [1, 2]}
    values = plan_values(tmp_path, baseline=None)
    values["entries"] = [entry | {"settings": {"members": recipes}}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
    assert command(tmp_path, "plan.yaml", "--output", "runs") == 0
    runs = [RunFolder.open(tmp_path / "runs" / f"both-{seed}") for seed in (1, 2)]
    costs = [run.read("members.json") for run in runs]
    assert costs[0][1] == costs[1][0]  # the shared one
    for run, cost in zip(runs, costs, strict=True):
        metrics = run.read("metrics.json")
        whole = metrics["seconds"] + sum(each["seconds"] for each in cost)
        assert metrics["wall_seconds"] == pytest.approx(whole)


def test_every_run_keeps_epochs_with_comparable_quality(made: Path) -> None:
    for name in ("gru-1", "ours-1"):
        rows = RunFolder.open(made / name).epochs()
        elapsed = [row["elapsed"] for row in rows]
        assert elapsed == sorted(elapsed)
        assert elapsed[0] >= rows[0]["seconds"] * 0.99
        assert all(0 <= benchmark_results.quality(row) <= 1 for row in rows)
    metrics = RunFolder.open(made / "gru-1").read("metrics.json")
    assert metrics["wall_seconds"] > metrics["seconds"] > 0
    rows = RunFolder.open(made / "gru-1").epochs()
    best = max(benchmark_results.quality(row) for row in rows)
    masked = metrics["valid"]["full_masked"]["ndcg@10"]
    assert masked in [pytest.approx(benchmark_results.quality(row), abs=1e-4) for row in rows]
    assert masked <= best + 1e-4


def test_all_models_rank_the_same_users(made: Path) -> None:
    users = [
        RunFolder.open(made / name).ranks()["test/users"].tolist()
        for name in ("ours-1", "gru-1", "popularity-2020")
    ]
    assert users[0] == users[1] == users[2]


def test_runs_that_the_epoch_limit_ended_are_told(made: Path) -> None:
    found = benchmark_results.read(made)
    assert {entry: found.at_limit(entry) for entry in found.runs} == {
        "Ours": 1, "GRU": 2, "Popularity": 0
    }  # fmt: skip


def test_a_second_start_runs_only_what_has_not_ended(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.parent, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/metrics.json")}
    shutil.rmtree(folder / "runs" / "popularity-2020")
    assert command(folder, "plan.yaml", "--output", "runs") == 1
    after = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/metrics.json")}
    changed = {path.parent.name for path in after if before[path] != after[path]}
    assert changed == {"popularity-2020"}


def test_other_data_are_another_run(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.parent, folder)
    values = yaml.safe_load((folder / "plan.yaml").read_text())
    values["settings"]["data_path"] = str(folder)
    values["entries"] = [each for each in values["entries"] if each["name"] == "Popularity"]
    (folder / "plan.yaml").write_text(yaml.safe_dump(values | {"baseline": None}))
    assert command(folder, "plan.yaml", "--output", "runs2") == 0
    first = folder / "runs2" / "popularity-2020"
    before = (first / "metrics.json").stat().st_mtime_ns
    with (folder / "toy" / "toy.inter").open("a") as file:
        file.write("u1\ti160\t99999\n")
    assert command(folder, "plan.yaml", "--output", "runs2") == 0
    others = [each for each in (folder / "runs2").glob("popularity-2020-*/metrics.json")]
    assert len(others) == 1 and (first / "metrics.json").stat().st_mtime_ns == before


def test_earlier_results_know_no_data_and_stay_the_same_run() -> None:
    run = {"id": "a", "entry": "A", "settings": {"seed": 1}, "first": None}
    now = {**run, "data": {"toy.inter": "new"}}
    assert jobs.is_same({**run, "id": "b", "settings": {"seed": 2}}, now)
    assert jobs.is_same(now, now)
    assert not jobs.is_same({**run, "data": {"toy.inter": "old"}}, now)
    assert not jobs.is_same({**run, "entry": "B"}, now) and not jobs.is_same(None, now)


def test_runs_on_other_data_leave_the_report(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.parent, folder)
    for file in folder.glob("runs/jobs/gru-*.json"):
        told = json.loads(file.read_text())
        if "data" in told:
            file.write_text(json.dumps(told | {"data": {"toy.inter": "another"}}))
    assert command(folder, "plan.yaml", "--output", "runs", "--models", "Popularity") == 0
    assert list(benchmark_results.read(folder / "runs").runs) == ["Ours", "Popularity"]


def test_a_choice_of_models_leaves_the_others_in_the_report(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.parent, folder)
    before = benchmark_results.read(folder / "runs")
    assert command(folder, "plan.yaml", "--output", "runs", "--models", "Popularity") == 0
    after = benchmark_results.read(folder / "runs")
    assert list(after.runs) == list(before.runs) == ["Ours", "GRU", "Popularity"]
    assert after.baseline == "GRU"
    assert list(after.failures) == ["broken-2020"]


def test_what_was_never_begun_goes_with_the_plan_that_asked_for_it(
    made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.parent, folder)
    file = folder / "runs" / "benchmark.json"
    index = json.loads(file.read_text())
    index["runs"]["gru-3"] = "GRU"
    file.write_text(json.dumps(index))
    assert benchmark_results.read(folder / "runs").missing == ["gru-3"]
    assert command(folder, "plan.yaml", "--output", "runs", "--models", "Popularity") == 0
    assert benchmark_results.read(folder / "runs").missing == []


def test_a_killed_benchmark_leaves_no_run_behind_and_goes_on(tmp_path: Path) -> None:
    values = plan_values(tmp_path)
    values["entries"] = [values["entries"][1] | {"seeds": [1]}]
    values["entries"][0]["settings"]["epochs"] = 12
    values["settings"]["stopping_step"] = 100
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
    epochs = kill_after(tmp_path, "gru-1", lines=2)
    time.sleep(1)  # the run notices that its parent is gone
    seen = epochs.read_text()
    time.sleep(1)
    assert epochs.read_text() == seen
    assert RunFolder.open(tmp_path / "runs" / "gru-1").about["status"] == "running"
    assert command(tmp_path, "plan.yaml", "--output", "runs") == 0
    run = RunFolder.open(tmp_path / "runs" / "gru-1")
    assert run.about["status"] == "done"
    assert [row["epoch"] for row in run.epochs()] == list(range(1, 13))


@pytest.mark.slow
def test_a_killed_run_of_ur4rec_goes_on_where_it_was(tmp_path: Path) -> None:
    values = plan_values(tmp_path, baseline=None)
    values["entries"] = values["entries"][:1]
    values["settings"] |= {"epochs": 6, "stopping_step": 100}
    values["entries"][0]["settings"] = TINY | {"epochs": 6}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
    epochs = kill_after(tmp_path, "ours-1", lines=8)
    time.sleep(2)  # the run notices that its parent is gone
    before = RunFolder.open(epochs.parent).epochs()
    assert command(tmp_path, "plan.yaml", "--output", "runs") == 0
    after = RunFolder.open(epochs.parent)
    assert after.about["status"] == "done"
    rows = after.epochs()
    assert len(rows) == 24
    assert rows[: len(before) - 1] == before[:-1]  # not run again
    elapsed = [row["elapsed"] for row in rows]
    assert elapsed == sorted(elapsed)
    assert after.read("metrics.json")["wall_seconds"] > elapsed[-1]


@pytest.mark.parametrize("how", ["ctrl-c", "a run is killed"])
def test_the_next_benchmark_goes_on_with_an_interrupted_run(tmp_path: Path, how: str) -> None:
    values = plan_values(tmp_path, baseline=None)
    values["entries"] = [values["entries"][1] | {"seeds": [1]}]
    values["entries"][0]["settings"]["epochs"] = 12
    values["settings"]["stopping_step"] = 100
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
    process = start(tmp_path, "plan.yaml", "--output", "runs", stderr=subprocess.PIPE)
    epochs = tmp_path / "runs" / "gru-1" / "epochs.csv"
    wait_for(lambda: epochs.exists() and epochs.read_text().count("\n") > 2)
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        [run] = psutil.Process(process.pid).children()
        run.kill()
    _, said = process.communicate()
    if how == "ctrl-c":
        assert process.returncode == 130
        assert said.decode().splitlines() == [
            "runs: interrupted; the same command goes on from here"
        ]
    else:
        assert process.returncode == 1
    run = RunFolder.open(epochs.parent)
    assert run.about["status"] == "running"
    before = run.epochs()
    assert command(tmp_path, "plan.yaml", "--output", "runs") == 0
    run = RunFolder.open(epochs.parent)
    assert run.about["status"] == "done"
    kept = max(len(before) - 1, 0)  # a kill may fall between an epoch's row and its weights
    assert run.epochs()[:kept] == before[:kept]
    assert [row["loss"] for row in run.epochs()][: len(before)] == [row["loss"] for row in before]
    assert not list((tmp_path / "runs" / "jobs").glob("*.failed.json"))


def kill_after(folder: Path, run: str, lines: int) -> Path:
    """Start the plan, kill it when a run has more lines of epochs.csv; return that file."""
    process = start(folder, "plan.yaml", "--output", "runs")
    epochs = folder / "runs" / run / "epochs.csv"
    wait_for(lambda: epochs.exists() and epochs.read_text().count("\n") > lines)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return epochs


def wait_for(condition: Any) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_two_benchmarks_in_one_folder_are_refused(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / ".lock"), pytest.raises(InputError, match="another benchmark"):
        benchmark.execute(make_plan(plan_values(tmp_path)), tmp_path)


@pytest.mark.slow
def test_the_search_writes_the_trial_that_validates_best(tmp_path: Path) -> None:
    tune = {"name": "GRU", "model": "GRU4Rec", "output": "tuned.yaml",
            "settings": {"epochs": 1, "loss_type": "CE", "train_neg_sample_args": None,
                         "hidden_size": 4},
            "search": [{"hidden_size": [32]}]}  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan_values(tmp_path, tune=tune)))
    assert command(tmp_path, "plan.yaml", "--output", "runs", "--tune") == 0
    scores = {}
    for file in (tmp_path / "runs" / "tuning" / "jobs").glob("*.json"):
        run = RunFolder.open(file.parents[1] / file.stem)
        size = json.loads(file.read_text())["settings"]["hidden_size"]
        scores[size] = run.read("metrics.json")["valid"]["full_masked"]["ndcg@10"]
    assert len(scores) == 2
    text = (tmp_path / "tuned.yaml").read_text()
    assert scores[yaml.safe_load(text)["hidden_size"]] == max(scores.values())
    assert text.startswith("# GRU4Rec on toy: the best of 2 trials")


def test_seconds_to_a_threshold_are_those_of_the_first_epoch_that_reached_it() -> None:
    rows = [{"ndcg@10": q, "elapsed": t} for q, t in [(0.1, 5.0), (0.3, 9.0), (0.2, 12.0)]]
    assert benchmark_results.seconds_to(rows, 0.2) == 9.0
    assert benchmark_results.seconds_to(rows, 0.1) == 5.0
    assert benchmark_results.seconds_to(rows, 0.31) is None


class Curve:
    """A run of which only the epochs are known."""

    def __init__(self, model: str, *curve: tuple[float, float], path: Path = Path("-")) -> None:
        self.about = {"model": model}
        self.curve = curve
        self.path = path

    def epochs(self) -> list[dict[str, float]]:
        return [{"elapsed": seconds, "ndcg@10": quality} for seconds, quality in self.curve]


def test_a_run_of_an_unknown_seed_is_read_with_the_others() -> None:
    run: Any = Curve("SASRec")
    found = benchmark_results.Benchmark(Path(), None, {"a": [run]})
    found._metrics[run.path] = {"valid": {"full_masked": {"ndcg@10": 0.1}}}
    assert found.best(["a"]) == "a" and list(found.by_seed("a", "ndcg@10").values()) == [0.1]


def test_times_are_to_what_each_rival_reaches() -> None:
    runs: Any = {
        "ours": [Curve("UR4Rec", (2, 0.1), (4, 0.3)), Curve("UR4Rec", (4, 0.1), (6, 0.2))],
        "tuned": [Curve("SASRec", (10, 0.1), (50, 0.2))],
        "default": [Curve("CORE", (30, 0.05), (60, 0.1))],
        "ensemble": [Curve("UR4RecEnsemble", (1, 0.4))],
        "untrained": [Curve("Pop")],
    }
    found = benchmark_results.Benchmark(Path(), "tuned", runs)
    assert found.thresholds() == pytest.approx({"tuned": 0.19, "default": 0.095})
    table = benchmark_tables.times(found)
    assert table.heads == ["rival", "95% of its best", "its seconds", "ours", "tuned"]
    assert table.rows == [
        ["tuned", "0.1900", "50.0", "5.0 (2 of 2 runs; 10.0 times shorter)",
         "50.0 (1 of 1 runs; 1.0 times shorter)"],
        ["default", "0.0950", "60.0", "3.0 (2 of 2 runs; 20.0 times shorter)",
         "10.0 (1 of 1 runs; 6.0 times shorter)"],
    ]  # fmt: skip


def test_a_pretraining_counts_in_the_time_to_a_quality(tmp_path: Path) -> None:
    first = tmp_path / "s3rec-1.pretrain"
    first.mkdir()
    (first / "metrics.json").write_text('{"seconds": 100.0}')
    runs: Any = {"S3Rec": [Curve("S3Rec", (2, 0.1), (4, 0.3), path=tmp_path / "s3rec-1")]}
    found = benchmark_results.Benchmark(tmp_path, "S3Rec", runs)
    assert found.time_to("S3Rec", 0.2) == [104.0]
    assert found.time_to("S3Rec", 0.1) == [102.0]


def test_a_run_that_never_measured_the_quality_has_no_time_to_it() -> None:
    other = Curve("CORE", (30, 0.05), (60, 0.1))
    other.epochs = lambda: [{"elapsed": 30.0, "hit@5": 0.2}, {"elapsed": 60.0, "hit@5": 0.3}]
    runs: Any = {"ours": [Curve("UR4Rec", (2, 0.1), (4, 0.3))], "other": [other]}
    found = benchmark_results.Benchmark(Path(), None, runs)
    assert found.thresholds() == {} and found.time_to("other", 0.1) == []
    assert benchmark_tables.times(found).rows == []


def test_masked_quality_goes_before_the_models_own() -> None:
    assert benchmark_results.quality({"ndcg@10": 0.1, "full_masked_ndcg@10": 0.2}) == 0.2
    assert benchmark_results.quality({"loss": 1.0}) is None


def test_the_report_shows_every_protocol_model_and_failure(made: Path) -> None:
    benchmark_page.write(made)
    text = (made / "report.md").read_text()
    for protocol in ("full", "full_masked", "uniform_99", "popularity_99"):
        assert f"## Test, {protocol}\n" in text
        assert f"## Against GRU, {protocol}\n" in text
    assert re.search(r"^\| broken-2020 \| .*loss_type", text, re.MULTILINE)
    metrics = RunFolder.open(made / "popularity-2020").read("metrics.json")
    shown = f"{metrics['test']['full']['hit@5']:.4f}"
    assert re.search(rf"^\| Popularity \| 1 \| {shown} \|", text, re.MULTILINE)


def test_the_page_loads_nothing_and_draws_plots(made: Path, tmp_path: Path) -> None:
    results = made / "ablation"
    results.mkdir(exist_ok=True)
    for name, value in (("full", 0.2), ("no text", 0.1)):
        content = {"variant": name, "seed": 1, "valid": {"ndcg@10": value, "hit@10": value}}
        (results / f"{name}-1.json").write_text(json.dumps(content))
    page = benchmark_page.write(made).read_text()
    for head in ("Quality against time", "Validation over time", "Ablation", "Router weights"):
        assert f"<h2>{head}" in page
    assert page.count('<svg role="img" aria-label=') == page.count("<svg") == 4
    assert "best is bold" in page and "<b>" in page
    assert not re.search(r'(src|href)="https?:', page)


def test_a_run_that_dies_without_a_word_is_a_failure_too(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("")
    benchmark._record_failure(tmp_path / "a", tmp_path / "a.log", 3)
    found = json.loads((tmp_path / "a.failed.json").read_text())
    assert found == {"code": 3, "traceback": "ended with exit code 3"}


def test_thirteen_entries_have_colours_of_their_own() -> None:
    found = SimpleNamespace(runs=dict.fromkeys(f"entry {n}" for n in range(13)))
    assert len(set(benchmark_plots._colours(found).values())) == 13  # type: ignore[arg-type]


def test_any_folder_of_runs_has_a_report(made: Path, tmp_path: Path) -> None:
    for name in ("gru-1", "popularity-2020"):
        shutil.copytree(made / name, tmp_path / "runs" / name)
    assert cli.main(["report", str(tmp_path / "runs")]) == 0
    report = tmp_path / "runs" / "report.md"
    assert "| GRU4Rec | 1 |" in report.read_text()
    assert "Against" not in report.read_text()
    assert cli.main(["report", str(tmp_path / "runs"), "--baseline", "Pop"]) == 0
    assert "## Against Pop, full_masked" in report.read_text()


def test_the_order_under_two_splits_stands_side_by_side(made: Path, tmp_path: Path) -> None:
    for name in ("gru-1", "popularity-2020"):
        shutil.copytree(made / name, tmp_path / "other" / name)
    metrics = json.loads((made / "gru-1" / "metrics.json").read_text())
    metrics["test"]["full_masked"]["ndcg@10"] = 0.9
    (tmp_path / "other" / "gru-1" / "metrics.json").write_text(json.dumps(metrics))
    shutil.copytree(tmp_path / "other", tmp_path / "runs")
    metrics["test"]["full_masked"]["ndcg@10"] = 0.0
    (tmp_path / "runs" / "gru-1" / "metrics.json").write_text(json.dumps(metrics))
    folders = [str(tmp_path / "runs"), "--beside", str(tmp_path / "other")]
    assert cli.main(["report", *folders]) == 0
    report = (tmp_path / "runs" / "report.md").read_text()
    assert "Kendall's tau of the two orders: -1.00" in report
    assert "| GRU4Rec | 2 | 0.0000 | 1 | 0.9000 |" in report
    assert "First split: LS valid_and_test" in report


def test_a_baseline_that_is_no_entry_is_refused(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(made), "--baseline", "Popp"]) == 2
    assert "Name one of ['Ours', 'GRU', 'Popularity']" in capsys.readouterr().err
    assert cli.main(["report", str(made / "gru-1"), "--baseline", "GRU"]) == 2
    assert "folder of several runs" in capsys.readouterr().err


def test_runs_of_several_data_sets_have_no_report(made: Path, tmp_path: Path) -> None:
    for name in ("gru-1", "popularity-2020"):
        shutil.copytree(made / name, tmp_path / "runs" / name)
    file = tmp_path / "runs" / "gru-1" / "run.json"
    file.write_text(file.read_text().replace('"dataset": "toy"', '"dataset": "other"', 1))
    with pytest.raises(InputError, match="must hold runs of one data set. Received other, toy"):
        benchmark_page.write(tmp_path / "runs")


@pytest.mark.parametrize("content", ["[1]", "{}", '{"runs": 3, "entries": {}, "baseline": null}'])
def test_a_damaged_index_is_refused(made: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(made / "gru-1", tmp_path / "gru-1")
    (tmp_path / "benchmark.json").write_text(content)
    with pytest.raises(InputError, match="benchmark.json"):
        benchmark_page.write(tmp_path)


def test_a_name_of_markup_and_dollars_is_shown_as_it_is(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "runs")
    file = tmp_path / "runs" / "benchmark.json"
    name = r"$\alpha$ <b>[red]$_" + "long" * 50
    file.write_text(file.read_text().replace("GRU", json.dumps(name)[1:-1]))
    page = benchmark_page.write(tmp_path / "runs").read_text()
    escaped = name.replace("<", "&lt;").replace(">", "&gt;")
    assert f"<td>{escaped}</td>" in page
    assert "<b>[red]" not in page
    assert re.search(r"<text[^>]*>\$\\alpha\$ &lt;b&gt;\[red\]\$_", page)  # in a plot


def test_a_folder_without_runs_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold runs"):
        benchmark_page.write(tmp_path)


def test_a_browser_renders_the_page_without_console_messages(made: Path, tmp_path: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome on this machine")
    page = benchmark_page.write(made)
    text = page.read_text()
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace("</html>", "<script>nothing.here()</script></html>"))
    assert "CONSOLE" in render(browser, broken, tmp_path)[1]  # messages would be seen
    dom, messages = render(browser, page, tmp_path)
    assert "CONSOLE" not in messages
    assert "Benchmark on toy" in dom
    assert dom.count("<svg") == text.count("<svg") >= 3


def render(browser: str, page: Path, folder: Path) -> tuple[str, str]:
    """Return the document that a headless browser makes of a page, and its messages."""
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout, done.stderr
