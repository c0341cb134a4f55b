"""`ur4rec report` and `ur4rec compare`: what they show is what the run folders hold."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, make_table, sequences, write_atomic_files
from ur4rec_recbole.commands import main as cli
from ur4rec_recbole.reports import benchmark_results, compare, run_page, run_plots
from ur4rec_recbole.runs import quick_start
from ur4rec_recbole.runs.folder import RunFolder

HISTORIES = sequences([14] * 12, n_items=400)
STAGES = [
    {"name": "pretrain_sasrec", "epochs": 2}, "pretrain_retriever", "joint_finetune", "end_to_end"
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two runs that differ in one key, with texts, genres and a milestone out of reach."""
    folder = tmp_path_factory.mktemp("runs")
    write_atomic_files(folder, HISTORIES)
    items = sorted({item for history in HISTORIES.values() for item in history})
    lines = ["item_id:token\tclass:token_seq"]
    lines += [f"{item}\t{'Drama Comedy' if n % 2 else 'Horror'}" for n, item in enumerate(items)]
    (folder / "toy" / "toy.item").write_text("\n".join(lines) + "\n")
    make_table("item_text", items).save(folder / "text.npz")
    made = []
    for name, layers in (("first", 1), ("second", 2)):
        settings = SMALL | {
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "item_text_table": str(folder / "text.npz"),
            "n_layers": layers,
            "milestones": {"toy": {"pretrain_sasrec": 1.0}},
            "stages": STAGES,
            "run_folder": str(folder / name),
            "checkpoint_dir": str(folder / "saved"),
        }
        quick_start.run("UR4Rec", "toy", config_dict=settings)
        made.append(RunFolder.open(folder / name))
    return made


def test_a_run_folder_holds_the_run(runs: list[RunFolder]) -> None:
    found = runs[0]
    assert found.about["status"] == "done"
    assert len(found.about["data_fingerprint"]) == 64
    rows = found.epochs()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["stage_epoch"] for row in rows] == [1, 2, 1, 1, 1]
    assert {"seconds", "loss", "sequence", "hit@10", "peak_memory"} <= set(rows[0])
    assert {"retrieval", "fused", "load_balance"} <= set(rows[3])
    ranks, metrics = found.ranks(), found.read("metrics.json")
    assert len(ranks["test/users"]) == len(ranks["test/uniform_99"]) == len(HISTORIES)
    hit = float((ranks["test/full"] <= 10).mean())
    assert metrics["test"]["full"]["hit@10"] == pytest.approx(hit, abs=1e-4)
    assert metrics["seconds"] > 0
    routing = found.read("routing.json")
    assert set(routing["groups"]) == {"Comedy", "Drama", "Horror"}
    assert sum(routing["epochs"][-1]["modal"].values()) == pytest.approx(1, abs=1e-4)
    assert (found.path / "2-pretrain_retriever.pth").is_file()


def test_the_page_is_whole_and_loads_nothing(
    runs: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(runs[0].path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    text = path.read_text(encoding="utf-8")
    loaded = re.findall(r"(?:src|href)=[\"']([^\"']*)", text)
    assert all(target.startswith("#") or target == "data:," for target in loaded)
    figures = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(figures) == 6
    for figure in figures:
        ElementTree.fromstring(figure)
    for word in ("below_milestone", "milestone (among 100)", "pretrain_retriever", "Horror",
                 "uniform_99", "n_layers", "expert 2"):  # fmt: skip
        assert word in text, word


def test_a_run_that_has_only_begun_has_a_page(toy: Any, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", toy().config)
    assert "running" in run_page.page(folder)
    folder.add_epoch({"epoch": 1, "stage": "a<b", "stage_epoch": 1, "seconds": 1.0, "loss": 2.0})
    text = run_page.page(folder)
    assert "a&lt;b" in text and "a<b" not in text
    assert "<h2>HR@10" not in text  # nothing to draw


def test_values_and_names_are_shown_as_they_are(toy: Any, tmp_path: Path) -> None:
    huge = "<script>x</script>" + "y" * 5000
    folder = RunFolder.create(tmp_path / "run", toy().config)
    folder.about["config"]["gpu_id"]["value"] = huge
    row = {"epoch": 1, "stage": "$a_b$ c$", "stage_epoch": 1, "seconds": 1.0, r"$\alpha$": 2.0}
    folder.add_epoch(row)
    folder.add_finding({"name": "<i>", "epoch": 0, "stage": "{{ 7 * 7 }}"})
    text = run_page.page(folder)
    assert huge.replace("<", "&lt;").replace(">", "&gt;") in text
    assert "<script>x" not in text
    assert "{{ 7 * 7 }}" in text
    assert "&lt;i&gt;" in text
    drawn = "".join(re.findall(r"<text[^>]*>([^<]*)</text>", text))
    assert r"$\alpha$" in drawn and "$a_b$ c$" in drawn


def test_epochs_are_whole_numbers_on_their_axis(toy: Any, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", toy().config)
    for epoch in range(1, 4):
        row = {"epoch": epoch, "stage": "s", "stage_epoch": epoch, "seconds": 1, "loss": 2.0}
        folder.add_epoch(row)
    [(_, drawn)] = run_plots.losses(folder.epochs())
    axis = drawn[drawn.index("matplotlib.axis_1") : drawn.index("matplotlib.axis_2")]
    assert re.findall(r"<text[^>]*>([^<]*)</text>", axis)[:-1] == ["1", "2", "3"]


def test_a_run_of_recboles_own_model_has_a_page(tmp_path: Path) -> None:
    write_atomic_files(tmp_path, HISTORIES)
    settings = {
        "data_path": str(tmp_path), "epochs": 2, "train_neg_sample_args": None, "hidden_size": 8,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "show_progress": False,
        "inner_size": 8, "run_folder": str(tmp_path / "run"), "state": "ERROR",
    }  # fmt: skip
    quick_start.run("SASRec", "toy", config_dict=settings)
    folder = RunFolder.open(tmp_path / "run")
    assert folder.about["status"] == "done"
    assert [row["epoch"] for row in folder.epochs()] == [1, 2]
    text = run_page.page(folder)
    assert "SASRec on toy" in text
    assert "uniform_99" in text


def test_models_on_the_same_data_share_its_fingerprint(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    write_atomic_files(tmp_path, HISTORIES)
    settings = {"data_path": str(tmp_path), "epochs": 1, "state": "ERROR", "show_progress": False,
                "run_folder": str(tmp_path / "run"),
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}}  # fmt: skip
    quick_start.run("BPR", "toy", config_dict=settings)
    other = RunFolder.open(tmp_path / "run").about["data_fingerprint"]
    assert other == runs[0].about["data_fingerprint"]


def test_a_run_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic_files(tmp_path, HISTORIES)
    settings = SMALL | {"data_path": str(tmp_path), "run_folder": str(tmp_path / "run"),
                        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}  # fmt: skip
    monkeypatch.setattr("ur4rec_recbole.runs.keeping.protocols.measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quick_start.run("UR4Rec", "toy", config_dict=settings)
    assert RunFolder.open(tmp_path / "run").about["status"] == "failed"


def test_runs_are_compared_in_settings_and_results(
    runs: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.differences(runs) == {"n_layers": ["1", "2"]}
    found = compare.results(runs)
    values = [each.read("metrics.json")["test"]["full"]["hit@10"] for each in runs]
    change = values[1] - values[0]
    assert found["test full hit@10"] == [f"{values[0]:.4f}", f"{values[1]:.4f} ({change:+.4f})"]
    assert cli.main(["compare", *(str(each.path) for each in runs)]) == 0
    shown = capsys.readouterr().out
    assert "n_layers" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("test full_masked ndcg@10") < shown.index("valid")
    assert cli.main(["compare", str(runs[0].path)]) == 2


def test_what_another_model_lacks_differs_only_if_it_was_set(toy: Any, tmp_path: Path) -> None:
    config, folders = toy().config, []
    for name in ("a", "b"):
        folders.append(RunFolder.create(tmp_path / name, config))
    own = folders[0].about["config"]
    own["left_alone"] = {"value": 1, "origin": "default"}
    own["chosen"] = {"value": 1, "origin": "command line"}
    assert compare.differences(folders) == {"chosen": ["1", "-"]}


def test_texts_of_a_comparison_are_no_markup(
    toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy().config
    for name, value in (("one-run-with-a-long-name", "[red]a[/red]"), ("two", "[b]")):
        folder = RunFolder.create(tmp_path / name, config)
        folder.about["config"]["gpu_id"]["value"] = value
        folder.mark("done")
    names = [str(tmp_path / name) for name in ("one-run-with-a-long-name", "two")]
    assert cli.main(["compare", *names]) == 0
    shown = capsys.readouterr().out
    assert "[red]a[/red]" in shown and "[b]" in shown
    assert "run 1" in shown and "two" in shown


def test_figures_are_in_sample_where_validation_has_chosen_numbers_of_the_model() -> None:
    root = Path(__file__).parents[2] / "docs" / "results"
    films = benchmark_results.read(root / "benchmark-movietweetings-100k")
    assert {name for name in films.runs if films.is_in_sample(name)} == {
        "Naive sum", "Naive sum at the request",  # an ensemble's weights
        "UR4Rec sparse without texts", "UR4Rec sparse with times without texts",  # that of counts
        "UR4Rec sparse with times",  # and shares of neighbours
        "UR4Rec sparse with times and posters",
        "UR4Rec sparse with times and random vectors",
        "UR4Rec sparse with the request's time",  # and the trend
    }  # fmt: skip
