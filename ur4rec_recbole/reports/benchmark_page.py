"""The report of many runs: report.md and one HTML page that opens without a network.

ur4rec report runs/benchmark-ml-100k          (ur4rec benchmark writes it at its end, too)

Bars of an ablation are drawn for runs without test results, and where the folder, or its parent,
has an `ablation` folder with results.
"""

from collections.abc import Iterator
from pathlib import Path

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.reports import ablation, benchmark_plots
from ur4rec_recbole.reports.benchmark_results import Benchmark, read
from ur4rec_recbole.reports.benchmark_tables import tables
from ur4rec_recbole.reports.pages import Plot, Table, report
from ur4rec_recbole.reports.split_orders import orders


def write(
    folder: str | Path, baseline: str | None = None, beside: str | Path | None = None
) -> Path:
    """Write report.md and report.html into a folder of runs; return the page's path.

    `baseline` is the entry that all others are compared with, instead of the plan's; `beside` a
    folder of runs of the same entries under another split, whose order is shown too.
    """
    found, made = _tables(folder, baseline, beside)
    with atomic_write(found.folder / "report.md") as file:
        file.write(_markdown(found, made).encode(errors="replace"))
    path = found.folder / "report.html"
    with atomic_write(path) as file:
        parts: list[Table | Plot] = [*_plots(found), *made]
        text = report(title(found), list(_summary(found)), parts)
        file.write(text.encode(errors="replace"))
    return path


def write_markdown(
    file: str | Path,
    folder: str | Path,
    baseline: str | None = None,
    beside: str | Path | None = None,
) -> Path:
    """Write the tables of a folder of runs into a file and nothing into the folder."""
    text = _markdown(*_tables(folder, baseline, beside))
    with atomic_write(file) as page:
        page.write(text.encode(errors="replace"))
    return Path(file)


def title(found: Benchmark) -> str:
    """Name the data sets and say how many runs there are."""
    runs = [run for each in found.runs.values() for run in each]
    names = ", ".join(sorted({run.about["dataset"] for run in runs}))
    made_up = " (a made-up data set: its quality figures mean nothing)" * ("synthetic" in names)
    return f"Benchmark on {names}{made_up}: {len(found.runs)} models, {len(runs)} runs"


def _tables(
    folder: str | Path, baseline: str | None, beside: str | Path | None
) -> tuple[Benchmark, list[Table]]:
    found = read(Path(folder), baseline)
    made = list(tables(found))
    if beside is not None:
        made.insert(0, orders(found, read(Path(beside))))
    return found, made


def _markdown(found: Benchmark, made: list[Table]) -> str:
    lines = [f"# {title(found)}"]
    for table in made:
        lines += ["", f"## {table.title}", "", table.note, "", *ablation.markdown(table)]
    return "\n".join(lines) + "\n"


def _summary(found: Benchmark) -> Iterator[str]:
    """Say which entry is best, by how much, and what is missing."""
    for part, protocol in (("test", "full_masked"), ("valid", "full_masked")):
        values = {name: found.values(name, part, protocol, "ndcg@10") for name in found.runs}
        means = {
            name: float(each.mean()) for name, each in values.items() if not (each != each).any()
        }
        if means:
            best = max(means, key=lambda name: means[name])
            against = ""
            if found.baseline in means and found.baseline != best:
                against = f"; {found.baseline}, the baseline, has {means[found.baseline]:.4f}"
            yield f"Best {part} NDCG@10 ({protocol}): {best}, {means[best]:.4f}{against}."
            break
    left = len(found.failures) + len(found.missing)
    if left:
        yield f"{left} runs have no result; see the last table."


def _plots(found: Benchmark) -> Iterator[Plot]:
    yield Plot("Quality against time", "Dots: runs; diamonds: their means.",
               benchmark_plots.quality_against_time(found))  # fmt: skip
    yield Plot("Validation over time", "Each entry's first seed; dots begin a stage.",
               benchmark_plots.curves(found))  # fmt: skip
    yield Plot("Ablation", "Means and standard deviations over the seeds, on validation.",
               benchmark_plots.ablation(_ablation(found)))  # fmt: skip
    yield Plot("Router weights after the last epoch", "", benchmark_plots.routing(found))


def _ablation(found: Benchmark) -> dict[str, list[float]]:
    """Return validation NDCG@10 by entry, of the runs themselves or of an ablation beside them."""
    own = {name: list(found.by_seed(name, "ndcg@10").values()) for name in found.runs}
    tested = any("test" in found.metrics(run) for runs in found.runs.values() for run in runs)
    if not tested:
        return {name: values for name, values in own.items() if values}
    for folder in (found.folder / "ablation", found.folder.parent / "ablation"):
        if ablation.is_made_of_files(folder):
            return ablation.values_of_files(folder)
    return {}
