"""The report of many runs: report.md and one HTML page that opens without a network.

ur4rec report runs/benchmark-ml-100k          (ur4rec benchmark writes it at its end, too)

Ablation bars are drawn where the folder, or its parent, has an `ablation` folder with results.
"""

from pathlib import Path

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.reports import benchmark_plots, run_page
from ur4rec_recbole.reports.benchmark_results import Benchmark, read
from ur4rec_recbole.reports.benchmark_tables import Table, tables


def write(folder: str | Path, baseline: str | None = None) -> Path:
    """Write report.md and report.html into a folder of runs; return the page's path.

    `baseline` is the entry that all others are compared with, instead of the plan's.
    """
    found = read(Path(folder), baseline)
    made = list(tables(found))
    with atomic_write(found.folder / "report.md") as file:
        file.write(markdown(found, made).encode())
    path = found.folder / "report.html"
    with atomic_write(path) as file:
        file.write(page(found, made).encode())
    return path


def title(found: Benchmark) -> str:
    """Name the data sets and say how many runs there are."""
    runs = [run for each in found.runs.values() for run in each]
    names = ", ".join(sorted({run.about["dataset"] for run in runs}))
    made_up = " (a made-up data set: its quality figures mean nothing)" * ("synthetic" in names)
    return f"Benchmark on {names}{made_up}: {len(found.runs)} models, {len(runs)} runs"


def markdown(found: Benchmark, made: list[Table]) -> str:
    """Lay the tables out as Markdown."""
    lines = [f"# {title(found)}"]
    for table in made:
        lines += ["", f"## {table.title}", "", table.note, ""]
        lines.append("| " + " | ".join(table.heads) + " |")
        lines.append("|" + "---|" * len(table.heads))
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def page(found: Benchmark, made: list[Table]) -> str:
    """Lay plots and tables out as HTML: no scripts, nothing loaded from elsewhere."""
    places = [found.folder / "ablation", found.folder.parent / "ablation"]
    plots = [
        ("Quality against time", benchmark_plots.quality_against_time(found) if found.runs else ""),
        ("Validation over time", benchmark_plots.curves(found)),
        ("Ablation", next(filter(None, map(benchmark_plots.ablation, places)), "")),
        ("Router weights after the last epoch", benchmark_plots.routing(found)),
    ]
    body = "".join(f"<h2>{name}</h2>{drawn}" for name, drawn in plots if drawn)
    for table in made:
        body += f"<h2>{run_page.text(table.title)}</h2><p>{run_page.text(table.note)}</p>"
        body += run_page.table(table.heads, table.rows)
    head = run_page.text(title(found))
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><link rel='icon' href='data:,'>"
        f"<title>{head}</title><style>{run_page.STYLE}</style><h1>{head}</h1>{body}</html>"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
