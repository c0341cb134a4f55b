"""docs/benchmark-*.md: what `make pages` makes of the committed runs, read again here."""

from pathlib import Path

import pytest

from ur4rec_recbole.evaluation.protocols import PROTOCOLS
from ur4rec_recbole.reports import ablation, benchmark_tables
from ur4rec_recbole.reports.benchmark_comparisons import best_pairs
from ur4rec_recbole.reports.benchmark_results import read

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("ml-100k", "amazon-scientific", "movietweetings-100k")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_figures_of_the_committed_runs(name: str) -> None:
    found = read(DOCS / "results" / f"benchmark-{name}")
    page = (DOCS / f"benchmark-{name}.md").read_text(encoding="utf-8")
    made = [benchmark_tables._quality(found, protocol) for protocol in PROTOCOLS]
    for table in [*made, benchmark_tables.validation(found)]:
        assert table.rows
        assert "\n".join(ablation.markdown(table)) in page, table.title


@pytest.mark.parametrize("name", NAMES)
def test_no_model_of_ours_is_the_best_other_one(name: str) -> None:
    pairs = best_pairs(read(DOCS / "results" / f"benchmark-{name}"))
    assert pairs
    for ours, rival in pairs.values():
        assert ours.startswith("UR4Rec") and not rival.startswith("UR4Rec")
