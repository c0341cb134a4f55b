"""The tables of a benchmark's report, for Markdown and HTML alike."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ur4rec_recbole.evaluation.protocols import PROTOCOLS
from ur4rec_recbole.reports.benchmark_comparisons import TESTED, Tested, best_pairs, compared
from ur4rec_recbole.reports.benchmark_results import SHARE, Benchmark
from ur4rec_recbole.reports.pages import Table, best_of

METRICS = ("hit@5", "hit@10", "hit@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")
SUBSETS = ("tail", "cold", "unseen", "short", "medium", "long")
SHOWN = ("unseen", "cold", "tail", "short")  # in every table of quality
IN_SAMPLE = " (in-sample)"
MEASURED = ("difference", "relative", "95% interval", "effect", "p")
HOW_TESTED = (
    "95% interval of a bootstrap of users and seeds (BCa of users where both have one seed); "
    "effect: mean of the users' differences over their deviation; p of the paired randomisation "
    "test over users after Holm's correction over all comparisons of this page."
)
CANDIDATES = {
    "full": "Ranked among all items, those that the user has had included.",
    "full_masked": "Ranked among all items but those that the user has had.",
    "uniform_99": "Ranked among the target and 99 items that the user never has.",
    "popularity_99": "Ranked among the target and 99 items that the user never has, by popularity.",
}


def tables(found: Benchmark) -> Iterator[Table]:
    """Yield the tables; those without data are left out."""
    tests = compared(found)
    made = (
        _best_against_best(found, tests),
        *(_quality(found, protocol) for protocol in PROTOCOLS),
        validation(found),
        *(_comparison(found, protocol, tests) for protocol in PROTOCOLS),
        _cost(found),
        times(found),
        _lists(found),
        _conditions(found),
        _failures(found),
    )
    yield from (table for table in made if table.rows)


def _quality(found: Benchmark, protocol: str) -> Table:
    values = {
        name: [found.values(name, "test", protocol, metric) for metric in METRICS]
        + [found.values(name, "test", f"{protocol}/{key}", "ndcg@10") for key in SHOWN]
        for name in _by_group(found)
    }
    values = {name: each for name, each in values.items() if not np.isnan(each[0]).all()}
    used = [
        place
        for place in range(len(METRICS) + len(SHOWN))
        if place < len(METRICS) or any(not np.isnan(e[place]).all() for e in values.values())
    ]
    reads = [""] if found.groups else []
    rows = [
        [name, *(found.groups.get(name, "-") for _ in reads), str(len(found.runs[name]))]
        + [spread(each[place]) for place in used]
        for name, each in values.items()
    ]
    means = [[_mean(each[place]) for place in used] for each in values.values()]
    heads = ["model", *("reads" for _ in reads), "seeds"]
    named = [*METRICS, *(f"ndcg@10 {key}" for key in SHOWN)]
    note = (
        f"{CANDIDATES[protocol]} Mean and standard deviation over the seeds; the best is bold. "
        "NDCG@10 also of targets unseen in training, cold (at most 5 interactions there), in the "
        "tail (outside the most popular fifth), and of the third with the shortest histories."
    )
    best = best_of(means, len(heads))
    return Table(f"Test, {protocol}", note, [*heads, *(named[p] for p in used)], rows, best)


def _by_group(found: Benchmark) -> list[str]:
    """Return the entries, those of a group together, in the plan's order."""
    groups = list(dict.fromkeys(found.groups.values()))
    places = {group: place for place, group in enumerate(groups)}
    return sorted(found.runs, key=lambda name: places.get(found.groups.get(name, ""), len(groups)))


def _best_against_best(found: Benchmark, tests: Sequence[Tested]) -> Table:
    """Show, for what models read, our best single model beside the best of all others."""
    by_pair = {tuple(each.pair): each for each in tests}
    rows = []
    for group, (ours, rival) in best_pairs(found).items():
        for protocol in PROTOCOLS:
            for metric in TESTED:
                each = by_pair.get((protocol, metric, ours, rival))
                if each:
                    ends = f"{each.comparison.ours:.4f}", f"{each.comparison.theirs:.4f}"
                    rows.append([group, ours, rival, protocol, metric, *ends, *_shown(each)])
    heads = ["reads", "ours", "best other", "candidates", "metric", "ours", "other", *MEASURED]
    note = f"Both chosen on validation NDCG@10; differences are on test. {HOW_TESTED}"
    return Table("Best against best", note, heads, rows)


def validation(found: Benchmark, entries: Sequence[str] | None = None) -> Table:
    """Show quality on validation, and each entry's difference to the baseline or first entry."""
    names = [name for name in entries or found.runs if name in found.runs]
    shown = {name: name + IN_SAMPLE * found.is_in_sample(name) for name in names}
    measured = {shown[name]: [found.by_seed(name, metric) for metric in TESTED] for name in names}
    made = seed_by_seed(measured, shown.get(found.baseline or ""))
    if set(names) == set(shown.values()):
        return made
    flattery = "a few weights were fitted on these rows, which flatters the model."
    return made._replace(note=f"{made.note} {IN_SAMPLE.strip()}: {flattery}")


def seed_by_seed(measured: Mapping[str, Sequence[dict[int, float]]], first: str | None) -> Table:
    """Lay `TESTED` of entries out, each metric's values by seed: mean, deviation and difference."""
    kept = {name: values for name, values in measured.items() if values[0]}
    first = first if first in kept else next(iter(kept), "")
    rows = []
    for name, values in kept.items():
        both = sorted(set(values[0]) & set(kept[first][0]))
        gain = np.array([values[0][seed] - kept[first][0][seed] for seed in both])
        shown = [spread(np.array(list(each.values()))) for each in values]
        rows.append([name, str(len(values[0])), *shown, spread(gain, "+")])
    best = best_of([[_mean(list(each.values())) for each in values] for values in kept.values()], 2)
    heads = ["entry", "seeds", "NDCG@10", "HR@10", f"NDCG@10 against {first}, seed by seed"]
    note = "Ranked among all items that the user has not had; mean ± standard deviation over seeds."
    return Table("Validation", note, heads, rows, best)


def _comparison(found: Benchmark, protocol: str, tests: Sequence[Tested]) -> Table:
    rows = [
        [each.pair.entry, each.pair.metric, *_shown(each)]
        for each in tests
        if each.pair.protocol == protocol and each.pair.against == found.baseline
    ]
    note = f"Difference to {found.baseline} on test. {HOW_TESTED}"
    heads = ["model", "metric", *MEASURED]
    return Table(f"Against {found.baseline}, {protocol}", note, heads, rows)


def _shown(tested: Tested) -> list[str]:
    """Return the cells of `MEASURED`."""
    each = tested.comparison
    interval = f"{each.low:+.4f} to {each.high:+.4f}"
    difference = f"{each.ours - each.theirs:+.4f}"
    return [difference, f"{each.gain:+.1%}", interval, f"{each.effect:+.2f}", f"{tested.p:.2g}"]


def _cost(found: Benchmark) -> Table:
    rows = []
    for name, runs in found.runs.items():
        memory = np.array([found.metrics(run).get("peak_memory", np.nan) for run in runs]) / 1e6
        epochs = np.mean([len(run.epochs()) for run in runs])
        limit = found.at_limit(name)
        most = "-" if np.isnan(memory).all() else f"{np.nanmax(memory):.0f}"
        rows.append(
            [
                name, f"{found.seconds(name).mean():.1f}", f"{epochs:.0f}",
                f"{limit} of {len(runs)}" if limit else "-", most
            ]
        )  # fmt: skip
    heads = ["model", "seconds", "epochs", "at epoch limit", "peak MB"]
    return Table("Cost", "Wall-clock seconds of a whole run, mean over seeds.", heads, rows)


def times(found: Benchmark) -> Table:
    """Show how long the baseline's and our models take to the quality of each rival."""
    thresholds = found.thresholds()
    ours = [e for e in found.runs if found.runs[e][0].about["model"] == "UR4Rec"]
    columns = list(dict.fromkeys([*ours, *([found.baseline] if found.baseline else [])]))
    rows = []
    for rival, goal in thresholds.items():
        theirs = _mean_time(found.time_to(rival, goal))
        row = [rival, f"{goal:.4f}", "-" if theirs is None else f"{theirs:.1f}"]
        for name in columns:
            reached = found.time_to(name, goal)
            seconds = _mean_time(reached)
            if seconds is None or theirs is None:
                row.append("-")
                continue
            runs = f"{sum(each is not None for each in reached)} of {len(reached)} runs"
            row.append(f"{seconds:.1f} ({runs}; {theirs / seconds:.1f} times shorter)")
        rows.append(row)
    heads = ["rival", f"{SHARE:.0%} of its best", "its seconds", *columns]
    note = (
        "Seconds of training and validation until an epoch validates at this share of the rival's "
        "best NDCG@10 (full_masked), and how many times shorter than the rival's own."
    )
    return Table("Time to a quality", note, heads, rows if columns else [])


def _mean_time(times: Sequence[float | None]) -> float | None:
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
            spread(found.values(name, "test", f"full_masked/{key}", "hit@10")) for key in SUBSETS
        )
        row = [*lists, *parts]
        if set(row) != {"-"}:
            rows.append([name, *row])
    note = (
        "Coverage and Gini index of the first ten; HR@10 of targets in the tail (outside the "
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
    note = "Of all runs. Several values, separated by |, mean that not all runs were made alike."
    return Table("Conditions", note, ["what", "value"], rows)


def _failures(found: Benchmark) -> Table:
    rows = [[name, (text.splitlines() or ["-"])[-1]] for name, text in found.failures.items()]
    rows += [[name, "has not ended"] for name in found.missing]
    note = "Whole tracebacks are in jobs/*.failed.json."
    return Table("Runs without a result", note, ["run", "why"], rows)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = [each for each in values if not np.isnan(each)]
    return float(np.mean(known)) if known else float("nan")


def spread(values: np.ndarray, sign: str = "") -> str:
    """Show mean and standard deviation; a dash where there is nothing."""
    values = values[~np.isnan(values)]
    if not len(values):
        return "-"
    deviation = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.4f}{deviation}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return str(value)
