"""The table of an ablation: what each entry brings on validation, against the first one.

Results are a folder of runs, or the JSON files that `ur4rec ablation` left before it made runs
(docs/results/ablation: one file an entry and seed, those with images in a folder of their own).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import read_json
from ur4rec_recbole.core.shapes import NUMBER, fault
from ur4rec_recbole.experiments.plan import WITH_IMAGES
from ur4rec_recbole.reports.benchmark_results import Benchmark, read
from ur4rec_recbole.reports.benchmark_tables import TESTED, seed_by_seed, validation
from ur4rec_recbole.reports.pages import Table

RESULT = {"variant": str, "seed": int, "valid": dict.fromkeys(TESTED, NUMBER)}
HOW = """Leave-one-out in time, ranked among all items that the user has not had; mean ± standard
deviation over the seeds. No test data is read. Entries that start from one of them take its trained
first stage, once a seed, so that the last column compares like with like. A stage hands on nothing
worse than what it received: a row that equals the first stage alone brought nothing."""


def page(folder: Path, baseline: str | None = None) -> str:
    """Return the tables of an ablation as one Markdown page."""
    if is_made_of_files(folder):
        parts, notes = tables_of_files(folder, baseline), []
    else:
        found = read(folder, baseline)
        parts, notes = _tables(found), list(_conditions(found))
    lines = ["# Ablation", "", HOW, *notes]
    for table in parts:
        lines += ["", f"## {table.title}", "", *markdown(table)]
    return "\n".join(lines) + "\n"


def markdown(table: Table) -> list[str]:
    """Lay a table out as Markdown."""
    lines = ["| " + " | ".join(map(_cell, table.heads)) + " |", "|" + "---|" * len(table.heads)]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]


def _tables(found: Benchmark) -> list[Table]:
    names = {name: name.endswith(WITH_IMAGES) for name in found.runs}
    made = []
    for title, images in (("Without images", False), ("With images", True)):
        own = [name for name, has in names.items() if has == images]
        if own:
            made.append(validation(found, own)._replace(title=title))
    return made


def _conditions(found: Benchmark) -> Sequence[str]:
    about = next((run.about for runs in found.runs.values() for run in runs), None)
    lines = [""]
    if about:
        made_by = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines += [f"Data: {about['dataset']}. Machine: {about['machine'].get('cpu')}. {made_by}."]
    left = [*found.failures, *found.missing]
    return [*lines, f"Not run yet, or failed: {'; '.join(left)}."] if left else lines


def is_made_of_files(folder: Path) -> bool:
    """Tell whether a folder holds an ablation's files instead of runs."""
    return not (folder / "benchmark.json").exists() and any(_results(folder))


def tables_of_files(folder: Path, baseline: str | None) -> list[Table]:
    """Return a table for the files in a folder, and one for those in its folder `images`."""
    made = []
    for title, part in (("Without images", folder), ("With images", folder / "images")):
        found = _by_entry(part)
        if not found:
            continue
        if baseline not in found:
            raise InputError(
                "--baseline", f"must be an entry of {part}", repr(baseline),
                f"Name one of {sorted(found)}.",
            )  # fmt: skip
        order = sorted(found, key=lambda name: (name != baseline, name))
        table = seed_by_seed({name: found[name] for name in order}, baseline)
        made.append(table._replace(title=title))
    return made


def values_of_files(folder: Path) -> dict[str, list[float]]:
    """Return validation NDCG@10 of every run by entry."""
    return {name: list(values[0].values()) for name, values in _by_entry(folder).items()}


def _by_entry(folder: Path) -> dict[str, list[dict[int, float]]]:
    """Return by entry the values by seed of each metric in `TESTED`."""
    found: dict[str, list[dict[int, float]]] = {}
    for each in _results(folder):
        values = found.setdefault(each["variant"], [{} for _ in TESTED])
        for kept, metric in zip(values, TESTED, strict=True):
            kept[each["seed"]] = each["valid"][metric]
    return found


def _results(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    opened = [read_json(file) for file in files]
    return [each for each in opened if fault(each, RESULT) is None]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
