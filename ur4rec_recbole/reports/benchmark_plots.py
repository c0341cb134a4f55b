"""The plots of a benchmark's report as inline SVG; each returns "" where there is nothing to draw.

Used by benchmark_page.py.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ur4rec_recbole.reports.benchmark_results import SHARE, Benchmark, epochs, quality
from ur4rec_recbole.reports.run_plots import plain_text, short, svg


@plain_text
def quality_against_time(found: Benchmark) -> str:
    """Draw every entry's test NDCG@10 (full_masked) against its wall-clock seconds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    colours = _colours(found)
    for name in found.runs:
        values = found.values(name, "test", "full_masked", "ndcg@10")
        seconds = found.seconds(name)
        if np.isnan(values).all():
            continue
        axes.plot(seconds, values, "o", alpha=0.5, markersize=4, color=colours[name])
        label = short(name)
        axes.plot(seconds.mean(), np.nanmean(values), "D", color=colours[name], label=label)
    if not axes.lines:
        return ""
    _logarithmic(axes)
    axes.set_xlabel("seconds of a run (log)")
    axes.set_ylabel("test NDCG@10, full_masked")
    _legend_beside(axes)
    return svg(figure, "time", "Test NDCG@10 of every model against the seconds of a run")


@plain_text
def curves(found: Benchmark) -> str:
    """Draw validation NDCG@10 of each entry's first seed over time; dots begin a stage.

    Dashed lines are what a time to a quality is measured to.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    colours = _colours(found)
    for name, runs in found.runs.items():
        rows = [row for row in epochs(runs[0]) if quality(row) is not None]
        if not rows:
            continue
        times, values = [row["elapsed"] for row in rows], [quality(row) for row in rows]
        marker, colour = "." if len(rows) == 1 else None, colours[name]
        axes.plot(times, values, marker=marker, color=colour, label=short(name))
        starts = [n for n, row in enumerate(rows) if row["stage_epoch"] == 1]
        axes.plot([times[n] for n in starts], [values[n] for n in starts], "o", color=colour)
    if not axes.lines:
        return ""
    for name, threshold in found.thresholds().items():
        label = f"{SHARE:.0%} of {short(name)}'s best"
        axes.axhline(threshold, color=colours[name], linestyle="dashed", linewidth=0.8, label=label)
    _logarithmic(axes)
    axes.set_xlabel("seconds of training and validation (log)")
    axes.set_ylabel("validation NDCG@10, full_masked")
    _legend_beside(axes)
    return svg(figure, "curves", "Validation NDCG@10 of every model over time")


@plain_text
def ablation(found: Mapping[str, Sequence[float]]) -> str:
    """Draw validation NDCG@10 [seeds] of each entry of an ablation."""
    if not found:
        return ""
    order = sorted(found, key=lambda name: np.mean(found[name]))
    means = [float(np.mean(found[name])) for name in order]
    errors = [np.std(found[name], ddof=1) if len(found[name]) > 1 else 0.0 for name in order]
    figure = Figure(figsize=(9, 1 + 0.25 * len(order)))
    axes = figure.subplots()
    places = range(len(order))
    bars = axes.barh(places, means, xerr=errors, color="tab:blue", alpha=0.7)
    axes.set_yticks(places, [short(name) for name in order])
    axes.bar_label(bars, fmt="%.4f", padding=3, fontsize=8)  # differences are too small for the eye
    axes.margins(x=0.1)
    axes.set_xlabel("validation NDCG@10")
    axes.tick_params(labelsize=8)
    return svg(figure, "ablation", "Validation NDCG@10 of every entry")


@plain_text
def routing(found: Benchmark) -> str:
    """Draw the last epoch's router weights of every run that routes, runs by routers."""
    rows: dict[str, dict[str, float]] = {}
    for runs in found.runs.values():
        for run in runs:
            epochs = (run.read("routing.json") or {}).get("epochs")
            if epochs:
                rows[run.path.name] = _weights(epochs[-1])
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    values = np.array([[row.get(key, np.nan) for key in columns] for row in rows.values()])
    figure = Figure(figsize=(9, 1.6 + 0.3 * len(rows)))
    axes = figure.subplots()
    for (y, x), value in np.ndenumerate(values):
        axes.text(x, y, "" if np.isnan(value) else f"{value:.2f}", ha="center", va="center",
                  fontsize=7, color="black" if value < 0.6 else "white")  # fmt: skip
    # Vector cells, not imshow: an image would be embedded as a bitmap.
    axes.pcolormesh(np.arange(len(columns) + 1) - 0.5, np.arange(len(rows) + 1) - 0.5, values,
                    vmin=0, vmax=1, cmap="Blues")  # fmt: skip
    axes.set_xticks(range(len(columns)), columns, rotation=60, fontsize=7, ha="right")
    axes.set_yticks(range(len(rows)), [short(name) for name in rows], fontsize=7)
    axes.invert_yaxis()
    return svg(figure, "routing", "Router weights of every run after its last epoch")


def _weights(row: dict) -> dict[str, float]:
    found = dict(row["modal"])
    for name, shares in row["sub"].items():
        found |= {f"{name} {index}": share for index, share in enumerate(shares)}
    return found


def _colours(found: Benchmark) -> dict[str, tuple[float, ...]]:
    """Give each entry the same colour in all plots; twenty differ."""
    strong_and_pale = colormaps["tab20"].colors  # type: ignore[attr-defined]
    palette = strong_and_pale[::2] + strong_and_pale[1::2]
    return {name: palette[n % len(palette)] for n, name in enumerate(found.runs)}


def _logarithmic(axes: Axes) -> None:
    """Make the x axis logarithmic, with plain numbers as dense as they can be read."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 1e3 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend_beside(axes: Axes) -> None:
    """Put the legend where it hides no data, however many entries there are."""
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
