"""docs/benchmark-*.md: what `make pages` makes of the committed runs, read again here."""

from pathlib import Path

import pytest

from ur4rec_recbole.evaluation.protocols import PROTOCOLS
from ur4rec_recbole.reports import ablation, benchmark_tables
from ur4rec_recbole.reports.benchmark_comparisons import best_pairs
from ur4rec_recbole.reports.benchmark_results import read

DOCS = Path(__file__).parents[2] / "docs"
TITLES = {
    "ml-100k": "ML-100K",
    "amazon-scientific": "Amazon Scientific",
    "movietweetings-100k": "MovieTweetings",
}
NAMES = tuple(TITLES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_figures_of_the_committed_runs(name: str) -> None:
    found = read(DOCS / "results" / f"benchmark-{name}")
    page = (DOCS / f"benchmark-{name}.md").read_text(encoding="utf-8")
    made = [benchmark_tables._quality(found, protocol) for protocol in PROTOCOLS]
    for table in [*made, benchmark_tables.validation(found)]:
        assert table.rows
        assert "\n".join(ablation.markdown(table)) in page, table.title


@pytest.mark.parametrize("name", NAMES)
def test_the_short_table_of_best_against_best_is_that_of_the_page(name: str) -> None:
    page = (DOCS / f"benchmark-{name}.md").read_text(encoding="utf-8")
    short = (DOCS / "benchmark.md").read_text(encoding="utf-8")
    cells = [line.strip("| ").split(" | ") for line in page.splitlines()]
    full = [row for row in cells if len(row) == 12 and row[3:5] == ["full_masked", "ndcg@10"]]
    assert full
    for reads, ours, other, _, _, *values, relative, _, _, p in full:
        row = [TITLES[name], reads, ours, other, *values[:2], relative, p]
        assert f"| {' | '.join(row)} |" in short


@pytest.mark.parametrize("name", NAMES)
def test_no_model_of_ours_is_the_best_other_one(name: str) -> None:
    pairs = best_pairs(read(DOCS / "results" / f"benchmark-{name}"))
    assert pairs
    for ours, rival in pairs.values():
        assert ours.startswith("UR4Rec") and not rival.startswith("UR4Rec")
