"""Plans: seeds, precedence of settings, selection, and what is refused."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_table
from ur4rec_recbole.commands.benchmark import DOCUMENTED
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import read_mapping
from ur4rec_recbole.experiments import benchmark, tuning
from ur4rec_recbole.experiments.jobs import digest
from ur4rec_recbole.experiments.plan import check_configurations, make_plan, read_plan

REPOSITORY = Path(__file__).parents[2]
NO_NEGATIVES = {"train_neg_sample_args": None}
ENTRIES = [{"name": "A one", "model": "SASRec"}, {"name": "B", "model": "Pop", "seeds": [7]}]


def plan(**values: Any) -> Any:
    return make_plan({"dataset": "toy", "seeds": 2, "entries": ENTRIES} | values)


def test_jobs_take_a_seed_of_every_entry_before_the_next() -> None:
    assert [job.id for job in plan().jobs()] == ["a-one-2020", "b-7", "a-one-2021"]
    assert [job.settings["seed"] for job in plan().jobs()] == [2020, 7, 2021]


def test_an_entrys_settings_come_over_its_files_and_those_over_the_plans(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("model: X\nb: 2\nc: 2\nd: 1e-3\n")
    entry = {"name": "A", "model": "SASRec", "config_files": ["own.yaml"], "settings": {"c": 3}}
    job = plan(settings={"a": 1, "b": 1, "c": 1}, entries=[entry]).jobs()[0]
    expected = {"a": 1, "b": 2, "c": 3, "d": 0.001, "seed": 2020}
    assert dict(job.settings) == expected


def test_models_are_chosen_by_name_or_model_and_unknown_ones_run_with_defaults() -> None:
    found = benchmark.choose(plan(baseline="B"), "SASRec,GRU4Rec", "other")
    assert [entry.name for entry in found.entries] == ["A one", "GRU4Rec"]
    assert found.dataset == "other"
    assert found.baseline == "B"  # which an earlier start may have run
    assert len(found.jobs()) == 4


def test_a_name_goes_before_a_model_of_that_name() -> None:
    entries = [{"name": "SASRec tuned", "model": "SASRec"}, {"name": "SASRec", "model": "SASRec"}]
    found = benchmark.choose(plan(entries=entries), "SASRec", None)
    assert [entry.name for entry in found.entries] == ["SASRec"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": 0}, "seeds must be a number of seeds"),
        ({"seeds": 10**9}, "seeds must be a number of seeds"),
        ({"seeds": True}, "seeds must be a whole number or a list"),
        ({"seeds": [1, 1]}, "a list of different ones"),
        ({"seeds": [True, 2]}, "a list of different ones"),
        ({"seeds": [-1]}, "a list of different ones"),
        ({"seeds": [1.5]}, "a list of different ones"),
        ({"seeds": []}, "a list of different ones"),
        ({"seeds": float("nan")}, "seeds must be a whole number or a list"),
        ({"seeds": {"a": 1}}, "seeds must be a whole number or a list"),
        ({"seeds": None}, "seeds must be a whole number or a list"),
        ({"entries": []}, "entries must be given"),
        ({"entries": 5}, "entries must be a list"),
        ({"entries": {"name": "A"}}, "entries must be a list"),
        ({"entries": ["A"]}, "entries must be a mapping"),
        ({"entries": [None]}, "entries must be a mapping"),
        ({"entries": [{"model": "Pop"}]}, "name must be given"),
        ({"entries": [{"name": 5, "model": "Pop"}]}, "name must be text"),
        ({"entries": [{"name": "A"}]}, "model must be given"),
        ({"entries": [{"name": "A", "model": ["Pop"]}]}, "model must be text"),
        ({"entries": [{"name": "A", "model": "Pop", "settings": ["a"]}]}, "settings must be a map"),
        ({"entries": [{"name": "A", "model": "Pop", "config_files": "a"}]}, "must be a list"),
        ({"entries": [{"name": "A", "model": "Pop", "config_files": [1]}]}, "must be text"),
        ({"entries": [{"name": "A", "model": "Pop", "pretrain": True}]}, "pretrain must be a map"),
        ({"entries": [{"name": "A", "model": "Pop", "with_images": "no"}]}, "True, False or only"),
        ({"entries": [*ENTRIES, {"name": "B", "model": "Pop"}]}, "names of their own"),
        ({"entries": [{"name": "A", "model": "B", "epochs": 3}]}, "epochs must be one of"),
        ({"entries": [{"name": "A", "model": "B", "setings": {}}]}, "Did you mean 'settings'"),
        ({"baseline": "C"}, "baseline must be an entry's name"),
        ({"baseline": "b"}, "Did you mean 'B'"),
        ({"baseline": 3}, "baseline must be text"),
        ({"sede": 1}, "Did you mean 'seeds'"),
        ({"dataset": 3}, "dataset must be text"),
        ({"dataset": ""}, "dataset must be given"),
        ({"evaluate": "valid"}, "evaluate must be a list"),
        ({"evaluate": ["train"]}, "must list some of"),
        ({"evaluate": []}, "must list some of"),
        ({"settings": {"a": float("inf")}}, "settings: a must be finite"),
        ({"settings": {"a": [{"b": float("nan")}]}}, "settings: a: b must be finite"),
        ({"settings": {1: 2}}, "must be text"),
        ({"settings": {"a": {1, 2}}}, "must be text, numbers, lists or mappings"),
        ({"tune": [1]}, "tune must be a mapping"),
        ({"tune": 5}, "tune must be a mapping or a list"),
        ({"entries": [{"name": "A", "model": "Pop", "group": 5}]}, "group must be text"),
    ],
)
def test_a_wrong_plan_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(**values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "dataset must be given"),
        (b"- a\n", "must hold `key: value` lines"),
        (b"text", "must hold `key: value` lines"),
        ("name: Caf\u00e9".encode("latin-1"), "must be YAML in UTF-8"),
        (b"dataset: a\ndataset: b\n", "stands twice"),
        (b"dataset: !!python/object/apply:os.getcwd []\n", "must be YAML"),
        (b"base: 3\nvariants: [{name: a}]\n", "base must be a mapping"),
        (b"base: {}\nvariants: 3\n", "variants must be a list"),
        (b"base: {}\nvariants: [a]\n", "variant must be a mapping"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "plan.yaml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_plan(tmp_path / "plan.yaml")


def test_no_setting_is_executed_and_a_wrong_one_is_told_before_any_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    code = f"__import__('pathlib').Path({str(touched)!r}).touch()"
    for settings in ({"epochs": code}, {"hiden_size": 3}, {"learning_rate": "fast"}):
        entries = [ENTRIES[0], {"name": "C", "model": "UR4Rec", "settings": settings}]
        with pytest.raises(InputError, match="Entry C: Configuration key"):
            check_configurations(plan(entries=entries, dataset="ml-100k", settings=NO_NEGATIVES))
    split = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}
    sound = NO_NEGATIVES | {"data_path": code} | split
    check_configurations(plan(dataset="ml-100k", settings=sound))
    assert not touched.exists()


def test_entries_that_split_their_data_in_other_ways_are_not_compared() -> None:
    entries = [{"name": "Popular", "model": "Pop"}, {"name": "Next", "model": "ItemTransition"}]
    with pytest.raises(InputError, match="eval_args must be the same of all.*of Popular and Next"):
        check_configurations(plan(entries=entries, dataset="ml-100k", settings=NO_NEGATIVES))


def test_the_documented_plan_is_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(REPOSITORY)
    found = read_plan(DOCUMENTED)
    asked = "UR4Rec SASRec GRU4Rec BERT4Rec FDSA SASRecF S3Rec CORE FEARec EASE ItemKNN Pop".split()
    assert set(asked) <= {entry.model for entry in found.entries}
    assert all(set(each) == tuning.KEYS for each in found.tune)
    assert {each["model"] for each in found.tune} == {"SASRec", "CORE", "External"}
    names = ",".join(each.name for each in found.entries if not each.name.endswith(" tuned"))
    jobs = benchmark.choose(found, names, None).jobs()
    assert {job.settings["eval_args"]["order"] for job in jobs} == {"TO"}
    assert sum(job.model == "EASE" for job in jobs) == 1
    assert sum(job.entry == "UR4Rec small" for job in jobs) == 3


QUALITY = {(1, 5): 0.4, (1, 4): 0.2, (2, 4): 0.1, (3, 4): 0.3, (3, 5): 0.25, (3, 6): None}


def search(folder: Path, steps: Any) -> tuple[Any, list[int]]:
    """Run a search whose trials have the quality above, or fail; count the trials of each call."""
    tune = {"name": "S", "model": "SASRec", "output": "t.yaml", "search": steps}
    tune["settings"] = {"a": 1, "b": 4, "item_text_table": "folder/texts.npz"}
    tune["settings"]["item_tables"] = {"audio": "folder/audio.npz"}
    tried: list[int] = []

    def run(trials: Any) -> int:
        jobs, failed = benchmark.with_folders(trials.jobs(), folder), 0
        tried.append(len(jobs))
        for job in jobs:
            quality = QUALITY[job.settings["a"], job.settings["b"]]
            if quality is None:
                failed += 1
                continue
            target = folder / job.id
            target.mkdir(exist_ok=True)
            about = {"model": "SASRec", "dataset": "toy", "seed": 0, "status": "done"}
            about |= {"config": {}, "versions": {}, "machine": {}}
            (target / "run.json").write_text(json.dumps(about))
            metrics = {"valid": {"full_masked": {"ndcg@10": quality}}}
            (target / "metrics.json").write_text(json.dumps(metrics))
        return failed

    return tuning.search(plan(), tune, folder, run), tried


def test_a_search_turns_one_setting_after_the_other(tmp_path: Path) -> None:
    (trials, failed), tried = search(tmp_path, [{"a": [2, 3]}, {"b": [5, 6]}])
    chosen = [(each.settings["a"], each.settings["b"]) for each in trials.entries]
    assert chosen == [(1, 4), (2, 4), (3, 4), (3, 5), (3, 6)]
    assert tried == [3, 5]
    assert failed == 1


def test_an_edited_search_reads_its_own_trials(tmp_path: Path) -> None:
    search(tmp_path, [{"a": [2, 3]}])
    (trials, _), _ = search(tmp_path, [{"b": [5]}])  # its second trial is another one now
    assert list(tuning._scores(trials, tmp_path).values()) == [0.2, 0.4]


def test_the_best_trial_is_written_without_the_paths_of_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (trials, _), _ = search(tmp_path, [{"a": [2, 3]}, {"b": [5, 6]}])
    tune = {"model": "SASRec", "output": "t.yaml"}
    said = tuning.choose(tune, trials, tmp_path, Path("plan.yaml"))
    assert "S 3, validation NDCG@10 0.3000" in said
    assert read_mapping("t.yaml", "plan") == {"a": 3, "b": 4}
    assert "the best of 4 trials" in Path("t.yaml").read_text()


@pytest.mark.parametrize(
    "steps", [None, [], {"a": [1]}, [{"a": 1}], [{"a": []}], [{"a": [1], "b": [2]}]]
)
def test_a_search_without_steps_is_refused(tmp_path: Path, steps: Any) -> None:
    with pytest.raises(InputError, match="search a list of|tune must be"):
        search(tmp_path, steps)


def test_a_missing_tuned_setting_names_the_search(tmp_path: Path) -> None:
    entry = {"name": "A", "model": "SASRec", "config_files": ["tuned.yaml"]}
    with pytest.raises(InputError, match="tuned.yaml must be a file"):
        plan(entries=[entry]).jobs()
    searched = replace(plan(entries=[entry]), tune=({"output": "tuned.yaml"},))
    with pytest.raises(InputError, match=r"tuned.yaml must be .* a search .* with --tune first"):
        searched.jobs()


def test_the_short_benchmark_asks_for_what_has_been_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(REPOSITORY)
    told = subprocess.run(
        ["make", "-n", "bench-short"], check=True, capture_output=True, text=True
    ).stdout
    asked = re.findall(r'benchmark (properties/\S+) .*--models "([^"]*)"', told)
    assert len(asked) == 3
    for path, names in asked:
        assert benchmark.choose(read_plan(Path(path), seeds=1), names, None).jobs()


def test_a_members_file_is_part_of_the_setting(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("model: X\ndataset: other\nb: 2\nc: 2\n")
    members = ["some.pth", {"model": "A", "seeds": 2, "config_files": ["own.yaml"], "c": 3}]
    entry = {"name": "E", "model": "UR4RecEnsemble", "settings": {"members": members}}
    job = plan(entries=[entry]).jobs()[0]
    whole = {"model": "A", "seeds": 2, "b": 2, "c": 3}
    assert job.settings["members"] == ["some.pth", whole]
    (tmp_path / "own.yaml").write_text("b: 4\n")
    assert plan(entries=[entry]).jobs()[0].settings["members"][1]["b"] == 4


READS = {"ids", "ids and times", "with request time", "content"}
PLANS = ("", "-scientific", "-movietweetings", "-time-ml-100k", "-time-movietweetings")


@pytest.mark.parametrize("name", PLANS)
def test_entries_of_every_plan_say_what_they_read(name: str) -> None:
    found = read_plan(REPOSITORY / "properties" / f"benchmark{name}.yaml", tables=Path("made"))
    assert {each.group for each in found.entries} <= READS
    tables = {str(each.settings.get("item_text_table")) for each in found.entries}
    assert not any("{tables}" in each for each in tables)


def test_the_place_of_the_data_is_no_part_of_what_a_run_is() -> None:
    here, there = (
        digest(plan(settings={"data_path": place}).jobs()[0].description()) for place in "ab"
    )
    assert here == there


def test_the_place_of_a_table_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    def told(place: str, seed: int, **settings: Any) -> str:
        file = tmp_path / place / "a.npz"
        file.parent.mkdir(exist_ok=True)
        make_table("item_text", ["i1"], seed=seed).save(file)
        named = {"item_text_table": str(file), "item_tables": {"epochs": str(file)}}
        return digest(plan(settings=named | settings).jobs()[0].description())

    assert told("here", 1) == told("there", 1) != told("here", 2)
    assert told("here", 1, epochs=1) != told("here", 1, epochs=2)  # a modality of that name, too


def test_a_search_reaches_the_options_of_an_adapter(tmp_path: Path) -> None:
    settings = {"adapter_options": {"lr": 1.0, "loss": "BCE"}}
    found = tuning.with_setting(settings, "adapter_options.lr", 2.0)
    assert found == {"adapter_options": {"lr": 2.0, "loss": "BCE"}}
    assert settings["adapter_options"]["lr"] == 1.0


@pytest.mark.parametrize("name", PLANS)
def test_entries_and_searches_of_every_plan_are_valid_configurations(
    name: str, tmp_path: Path
) -> None:
    path = REPOSITORY / "properties" / f"benchmark{name}.yaml"
    found = read_plan(path, seeds=1, data_path=None if "ml-100k" in path.read_text() else tmp_path)
    (tmp_path / found.dataset).mkdir()
    (tmp_path / found.dataset / f"{found.dataset}.inter").touch()
    untuned = [each for each in found.entries if "_tuned" not in str(each.config_files)]
    check_configurations(replace(found, entries=tuple(untuned)))
    for tune in found.tune:
        tried = [dict(tune["settings"])]
        for step in tune["search"]:
            [(setting, values)] = step.items()
            tried += [tuning.with_setting(tried[0], setting, value) for value in values]
        check_configurations(tuning._as_plan(found, tune, tried))
