"""Runs side by side: the settings that differ, and the results."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ur4rec_recbole.core.errors import printable
from ur4rec_recbole.runs.folder import RunFolder

# The place where a run is kept is not one of its settings.
PLACES = frozenset({"run_folder", "checkpoint_dir"})
UNSET = ("default", "recbole")  # origins of what nobody has set
WIDTH = 45  # letters that the columns of all runs have, in a terminal of 80
ABOUT = ("status", "commit", "data_fingerprint")
HASHES = ("commit", "data_fingerprint")
SHORT = 10  # letters of a hash that are shown


def differences(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """Return by key the values of all runs, where they differ.

    A key that one of them does not have, such as another model's, differs only if it was set.
    """
    found = {}
    for key in ABOUT:
        values = [str(each.about.get(key)) for each in runs]
        found[key] = [value[:SHORT] if key in HASHES else value for value in values]
    for key in sorted({key for each in runs for key in each.about["versions"]}):
        found[f"version of {key}"] = [str(each.about["versions"].get(key)) for each in runs]
    for key in sorted({key for each in runs for key in each.about["config"]} - PLACES):
        entries = [each.about["config"].get(key) for each in runs]
        if all(entries) or any(each and each["origin"] not in UNSET for each in entries):
            found[key] = [_value(each) for each in entries]
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def results(runs: Sequence[RunFolder], details: bool = True) -> dict[str, list[str]]:
    """Return by name the results of all runs, with each later run's difference from the first.

    Without `details` those of subsets and lists (`full_masked/tail`) are left out.
    """
    flat = [_flat(each, details) for each in runs]
    found = {}
    for key in sorted({key: 0 for each in flat for key in each}, key=_importance):
        first = flat[0].get(key)
        cells = ["-" if first is None else _number(first)]
        for each in flat[1:]:
            value = each.get(key)
            change = "" if value is None or first is None else f" ({_number(value - first, '+')})"
            cells.append("-" if value is None else _number(value) + change)
        found[key] = cells
    return found


def _importance(key: str) -> int:
    """Put the metrics first that papers report: NDCG@10 and HR@10 on test, history masked."""
    words = ("ndcg@10", "hit@10"), ("full_masked", "full"), ("test", "valid")
    for place in range(8):
        wanted = {each[place >> n & 1] for n, each in enumerate(words)}
        if set(key.split()) == wanted:
            return place
    return 8


def _number(value: float, sign: str = "") -> str:
    return format(value, f"{sign}d" if isinstance(value, int) else f"{sign}.4f")


def _flat(folder: RunFolder, details: bool) -> dict[str, float]:
    """Return a run's metrics and the scores of its stages by name."""
    metrics: Mapping[str, Any] = folder.read("metrics.json") or {}
    found = {
        f"{part} {protocol} {name}": value
        for part in ("valid", "test")
        for protocol, values in metrics.get(part, {}).items()
        if details or "/" not in protocol
        for name, value in values.items()
    }
    for stage in folder.read("stages.json") or []:
        found[f"score of {stage['stage']}"] = stage["score"]
    if "seconds" in metrics:
        found["seconds"] = metrics["seconds"]
    if "peak_memory" in metrics:
        found["peak memory, GB"] = metrics["peak_memory"] / 1e9
    return found | {"findings": len(folder.findings())}


def _value(entry: Mapping[str, Any] | None) -> str:
    return "-" if entry is None else str(entry["value"])


def short_names(runs: Sequence[RunFolder]) -> tuple[list[str], list[str]]:
    """Return a short column name for each run, and lines that explain the short names."""
    names = [each.path.resolve().name for each in runs]
    if len(set(names)) == len(names) and max(map(len, names)) * len(names) <= WIDTH:
        return names, []
    numbers = [f"run {n}" for n in range(1, len(runs) + 1)]
    return numbers, [f"{n}: {run.path}" for n, run in zip(numbers, runs, strict=True)]


def table(title: str, names: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """Lay rows out for the terminal, one column a name; texts are shown, never interpreted."""
    table = Table(
        title=Text(printable(title)), title_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(Text(printable(name)), overflow="fold")
    for key, cells in rows.items():
        table.add_row(Text(printable(key)), *(Text(printable(cell)) for cell in cells))
    return table
