"""What all pages share: tables, plots and the templates that show them.

A page is one file that opens without a network; whatever it shows is escaped by its template.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ur4rec_recbole.reports"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Table(NamedTuple):
    """A table with its title and how to read it; `best` are the (row, column) to stand out."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    best: frozenset[tuple[int, int]] = frozenset()


class Plot(NamedTuple):
    """A plot, as an SVG element or "" where there is nothing to draw, and how to read it."""

    title: str
    note: str
    svg: str


def render(template: str, **values: Any) -> str:
    """Return the page that a template makes of values."""
    return _TEMPLATES.get_template(f"{template}.html").render(values)


def report(
    title: str,
    summary: Sequence[str],
    parts: Iterable[Table | Plot],
    findings: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Return a page of tables and plots; parts without anything in them are left out."""
    kept = [each for each in parts if (each.rows if isinstance(each, Table) else each.svg)]
    return render("report", title=title, summary=summary, parts=kept, findings=findings)


def best_of(
    values: Sequence[Sequence[float]], first: int = 0, choose: Callable = max
) -> frozenset[tuple[int, int]]:
    """Return (row, first + column) of the best value of each column of [R, C], ignoring NaN.

    A column whose values are all equal, or a single one, has no best.
    """
    found = set()
    for column in range(len(values[0]) if values else 0):
        known = {
            row: each[column] for row, each in enumerate(values) if each[column] == each[column]
        }
        if len(set(known.values())) > 1:
            best = choose(known.values())
            found |= {(row, first + column) for row, value in known.items() if value == best}
    return frozenset(found)


def shown(value: Any) -> str:
    """Return a cell's text: four digits of a fraction, a dash for nothing, ± never at an end."""
    if value is None:
        return "-"
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


_TEMPLATES.filters["shown"] = shown
