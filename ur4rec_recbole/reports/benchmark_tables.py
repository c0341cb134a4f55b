"""The tables of a benchmark's report, for Markdown and HTML alike."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ur4rec_recbole.evaluation.protocols import PROTOCOLS
from ur4rec_recbole.reports.benchmark_results import SHARE, Benchmark

METRICS = ("hit@5", "hit@10", "hit@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")
SUBSETS = ("tail", "cold", "unseen", "short", "medium", "long")
TESTED = ("ndcg@10", "hit@10")


class Table(NamedTuple):
    """A table with its title and one sentence on how to read it."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(found: Benchmark) -> Iterator[Table]:
    """Make all tables that the runs have something for."""
    made = (
        *(_quality(found, protocol) for protocol in PROTOCOLS),
        *(_comparison(found, protocol) for protocol in PROTOCOLS),
        _cost(found),
        times(found),
        _lists(found),
        _conditions(found),
        _failures(found),
    )
    yield from (table for table in made if table.rows)


def _quality(found: Benchmark, protocol: str) -> Table:
    rows = [
        [name, str(len(runs)), *(spread(found.values(name, "test", protocol, m)) for m in METRICS)]
        for name, runs in found.runs.items()
    ]
    note = "Mean and standard deviation over the seeds."
    return Table(f"Test, {protocol}", note, ["model", "seeds", *METRICS], rows)


def _comparison(found: Benchmark, protocol: str) -> Table:
    rows = []
    for metric in TESTED:
        for name, each, p in found.compared(protocol, metric):
            interval = f"{each.low:+.4f} to {each.high:+.4f}"
            difference = f"{each.ours - each.theirs:+.4f}"
            rows.append([name, metric, difference, f"{each.gain:+.1%}", interval, f"{p:.2g}"])
    note = (
        f"Difference to {found.baseline} on test. Users are resampled, seeds averaged inside a "
        "user; 95% bootstrap interval (BCa); p of the paired randomisation test after Holm's "
        "correction over the models."
    )
    heads = ["model", "metric", "difference", "relative", "95% interval", "p"]
    return Table(f"Against {found.baseline}, {protocol}", note, heads, rows)


def _cost(found: Benchmark) -> Table:
    rows = []
    for name, runs in found.runs.items():
        memory = np.array([run.read("metrics.json")["peak_memory"] for run in runs]) / 1e6
        epochs = np.mean([len(run.epochs()) for run in runs])
        limit = found.at_limit(name)
        rows.append(
            [
                name, f"{found.seconds(name).mean():.1f}", f"{epochs:.0f}",
                f"{limit} of {len(runs)}" if limit else "-", f"{memory.max():.0f}",
            ]
        )  # fmt: skip
    heads = ["model", "seconds", "epochs", "at epoch limit", "peak MB"]
    return Table("Cost", "Wall-clock seconds of a whole run, mean over seeds.", heads, rows)


def times(found: Benchmark) -> Table:
    """Tell who reaches what the baseline's model reaches, as each of its entries has it, when."""
    thresholds = found.thresholds()
    own = {entry: _mean(found.time_to(entry, goal)) for entry, goal in thresholds.items()}
    rows = []
    for name in found.runs:
        row = [name]
        for entry, goal in thresholds.items():
            reached = found.time_to(name, goal)
            seconds, theirs = _mean(reached), own[entry]
            if seconds is None or theirs is None:
                row.append("-")
                continue
            runs = f"{sum(each is not None for each in reached)} of {len(reached)} runs"
            row.append(f"{seconds:.1f} ({runs}; {theirs / seconds:.1f} times shorter)")
        rows.append(row)
    heads = ["model", *(f"{goal:.4f}: {entry}" for entry, goal in thresholds.items())]
    note = (
        f"Seconds of training and validation until an epoch validates at {SHARE:.0%} of the named "
        "entry's best NDCG@10 (full_masked), and how many times shorter than that entry's own."
    )
    return Table("Time to a quality", note, heads, rows if thresholds else [])


def _mean(times: Sequence[float | None]) -> float | None:
    reached = [each for each in times if each is not None]
    return float(np.mean(reached)) if reached else None


def _lists(found: Benchmark) -> Table:
    rows = []
    for name in found.runs:
        lists = (
            spread(found.values(name, "test", "full_masked/lists", key))
            for key in ("coverage@10", "gini@10")
        )
        parts = (
            spread(found.values(name, "test", f"full_masked/{key}", "ndcg@10")) for key in SUBSETS
        )
        rows.append([name, *lists, *parts])
    note = (
        "Coverage and Gini index of the first ten; NDCG@10 of targets in the tail (outside the "
        "most popular fifth), cold (at most 5 training interactions) and unseen in training, and "
        "by thirds of the history length."
    )
    heads = ["model", "coverage@10", "gini@10", *SUBSETS]
    return Table("Test, full_masked: recommendations and subsets", note, heads, rows)


def _conditions(found: Benchmark) -> Table:
    """Say once what all runs share, and show where they do not."""
    keys = ("dataset", "data_fingerprint", "commit", "machine", "versions")
    about = [run.about for runs in found.runs.values() for run in runs]
    rows = []
    for key in keys:
        values = list(dict.fromkeys(_plain(each.get(key)) for each in about))
        rows.append([key, " | ".join(values)])
    note = "Several values, parted by |, mean that not all runs were made alike."
    return Table("Conditions", note, ["what", "value"], rows)


def _failures(found: Benchmark) -> Table:
    rows = [[name, text.splitlines()[-1]] for name, text in found.failures.items()]
    rows += [[name, "has not ended"] for name in found.missing]
    note = "Whole tracebacks are in jobs/*.failed.json."
    return Table("Runs without a result", note, ["run", "why"], rows)


def spread(values: np.ndarray) -> str:
    """Show mean and standard deviation; a dash where there is nothing."""
    values = values[~np.isnan(values)]
    if not len(values):
        return "-"
    deviation = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return f"{values.mean():.4f}{deviation}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return str(value)
