"""The order of models under two splits, side by side: do both choose the same one."""

import numpy as np
from scipy import stats

from ur4rec_recbole.reports.benchmark_results import Benchmark
from ur4rec_recbole.reports.pages import Table

METRIC = "ndcg@10"


def orders(found: Benchmark, beside: Benchmark) -> Table:
    """Show place and test NDCG@10 (full_masked) of every entry that both folders of runs have."""
    both = [name for name in found.runs if name in beside.runs]
    values = {name: [_mean(each, name) for each in (found, beside)] for name in both}
    known = {name: pair for name, pair in values.items() if not np.isnan(pair).any()}
    if len(known) < 2:
        return Table("Order under two splits", "", [], [])
    places = stats.rankdata(-np.array(list(known.values())), method="min", axis=0).astype(int)
    rows = [
        [name, f"{places[row, 0]}", f"{pair[0]:.4f}", f"{places[row, 1]}", f"{pair[1]:.4f}"]
        for row, (name, pair) in enumerate(known.items())
    ]
    rows.sort(key=lambda row: int(row[1]))
    tau = stats.kendalltau(places[:, 0], places[:, 1]).statistic
    splits = [_split(each) for each in (found, beside)]
    note = (
        f"Test NDCG@10 (full_masked), means over seeds. Kendall's tau of the two orders: {tau:.2f} "
        f"(1: the same). First split: {splits[0]}; second: {splits[1]}."
    )
    heads = ["model", "place", "NDCG@10", "place, second split", "NDCG@10, second split"]
    return Table("Order under two splits", note, heads, rows)


def _mean(found: Benchmark, name: str) -> float:
    return float(np.mean(found.values(name, "test", "full_masked", METRIC)))


def _split(found: Benchmark) -> str:
    run = next(iter(found.runs.values()))[0]
    how = run.about.get("config", {}).get("eval_args", {}).get("value") or {}
    return ", ".join(f"{key} {each}" for key, each in how.get("split", {}).items()) or "unknown"
