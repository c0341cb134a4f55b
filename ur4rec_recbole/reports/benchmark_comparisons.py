"""The comparisons of a benchmark's page, corrected for their number all together.

runs -> compared -> the tables against the baseline, and of the best against the best.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ur4rec_recbole.evaluation import paired
from ur4rec_recbole.evaluation.paired import Comparison
from ur4rec_recbole.evaluation.protocols import PROTOCOLS
from ur4rec_recbole.reports.benchmark_results import Benchmark

TESTED = ("ndcg@10", "hit@10")


class Pair(NamedTuple):
    """Which entry is compared with which, on test."""

    protocol: str
    metric: str
    entry: str
    against: str


class Tested(NamedTuple):
    """A comparison, and its p after Holm's correction over all of the page."""

    pair: Pair
    comparison: Comparison
    p: float


def compared(found: Benchmark) -> list[Tested]:
    """Compare every entry with the baseline, and in each group our best with the best rival."""
    tests: dict[Pair, Comparison] = {}
    pairs = best_pairs(found).values()
    for protocol in PROTOCOLS:
        ranks = {entry: runs for entry in found.runs
                 if (runs := found.ranks(entry, "test", protocol))}  # fmt: skip
        for against, entries in _opponents(found.baseline, pairs, list(ranks)).items():
            for metric in TESTED:
                models = [ranks[entry] for entry in entries]
                results = paired.compare_all(models, ranks[against], metric)
                for entry, result in zip(entries, results, strict=True):
                    tests[Pair(protocol, metric, entry, against)] = result
    corrected = paired.holm([each.p for each in tests.values()])
    return [Tested(pair, each, p) for (pair, each), p in zip(tests.items(), corrected, strict=True)]


def _opponents(
    baseline: str | None, pairs: Iterable[tuple[str, str]], ranked: Sequence[str]
) -> dict[str, list[str]]:
    """Return which entries are compared with each: with the baseline, with a group's best rival."""
    wanted: dict[str, list[str]] = {}
    if baseline is not None and baseline in ranked:
        wanted[baseline] = [entry for entry in ranked if entry != baseline]
    for ours, rival in pairs:
        if {ours, rival} <= set(ranked) and ours not in wanted.setdefault(rival, []):
            wanted[rival].append(ours)
    return {against: entries for against, entries in wanted.items() if entries}


def best_pairs(found: Benchmark) -> dict[str, tuple[str, str]]:
    """Return by group our best single model and the best of all others, chosen on validation."""
    pairs = {}
    for group in dict.fromkeys(found.groups.values()):
        entries = [entry for entry, each in found.groups.items() if each == group]
        single = [e for e in entries if found.runs[e][0].about["model"] == "UR4Rec"]
        ours, rival = found.best(single), found.best(e for e in entries if not found.is_ours(e))
        if ours and rival:
            pairs[group] = (ours, rival)
    return pairs
