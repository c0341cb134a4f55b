"""The plots of one run as inline SVG: losses, HR@10 with milestones, routes, seconds per step.

Used by run_page.py. Each function returns "" where the run has nothing to draw. Names are drawn as
they are, without matplotlib's mathematics between dollar signs.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

NOT_LOSSES = frozenset(
    "epoch stage stage_epoch seconds seconds_per_step elapsed peak_memory gradient_norm "
    "valid_score".split()
)
HANDED_ON, MILESTONE = "among 100, handed on", "milestone (among 100)"
SMALL = 0.1  # of the greatest loss term
Rows = Sequence[Mapping[str, Any]]


plain_text = mpl.rc_context({"text.parse_math": False})  # decorator of the functions that draw


def svg(figure: Figure, name: str, label: str) -> Markup:
    """Return a figure as an SVG element.

    `name` keeps its ids apart from other figures'; `label` says to those who cannot see it what it
    shows.
    """
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    found = text.getvalue()
    element = re.sub(r'\bid="|(?<=url\()#|(?<=href=")#', lambda m: m[0] + f"{name}-", found)[
        found.index("<svg") :
    ]
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))


def short(name: Any) -> str:
    """Return a name that leaves room for the plot."""
    text = str(name)
    return text if len(text) <= 40 else f"{text[:39]}…"


@plain_text
def losses(rows: Rows) -> list[tuple[str, Markup]]:
    """Draw the loss terms of every epoch, those of another magnitude in a plot of their own.

    Their sum is drawn only without terms, since its meaning changes between stages.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    found = [key for key in keys if key not in NOT_LOSSES and "@" not in key]
    values = {key: [abs(row[key]) for row in rows if _is_number(row.get(key))] for key in found}
    most = {key: max(each) for key, each in values.items() if each}
    terms = [key for key in most if key != "loss"] or list(most)
    if not terms:
        return []
    limit = SMALL * max(most[term] for term in terms)
    drawn = []
    for title, name, chosen in (
        ("Losses", "losses", [term for term in terms if most[term] >= limit]),
        ("Small losses", "small-losses", [term for term in terms if most[term] < limit]),
    ):
        if chosen:
            figure, axes = _axes("loss")
            for term in chosen:
                _series(axes, rows, term)
            drawn.append((title, _finish(figure, axes, rows, name, f"{title} of every epoch")))
    return drawn


@plain_text
def hit_rate(rows: Rows, stages: Rows) -> str:
    """Draw HR@10 of every epoch, and at each stage's end HR@10 of 100 with its milestone."""
    key = "hit@10" if any("hit@10" in row for row in rows) else "valid_score"
    if not _drawn(rows, key):
        return ""
    figure, axes = _axes("HR@10" if key == "hit@10" else "validation score")
    _series(axes, rows, key, "all items")
    first = 1
    for stage in stages:
        last = first + max(stage["epochs"] - 1, 0)
        if stage.get("sampled_hit10") is not None:
            axes.plot(last, stage["sampled_hit10"], "o", color="tab:green", label=HANDED_ON)
        if stage.get("milestone") is not None:
            span = (stage["milestone"], first - 0.5, last + 0.5)
            axes.hlines(*span, "tab:red", "dashed", label=MILESTONE)
        first += stage["epochs"]
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, rows, "hit", "HR@10 of every epoch, on validation")


@plain_text
def seconds(rows: Rows) -> str:
    """Draw the seconds per step of every epoch."""
    key = "seconds_per_step" if any("seconds_per_step" in row for row in rows) else "seconds"
    if not _drawn(rows, key):
        return ""
    figure, axes = _axes("s / step" if key == "seconds_per_step" else "s / epoch")
    _series(axes, rows, key, None)
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, rows, "seconds", "Seconds of every epoch")


@plain_text
def routes(routing: Mapping[str, Any]) -> str:
    """Draw the mean weight of each modality, and of each of its sub-experts, over the epochs."""
    rows = routing.get("epochs", [])
    if not rows:
        return ""
    names = _heard(row["modal"] for row in rows)
    if not names:
        return ""
    figure = Figure(figsize=(10, 2.6))
    panels = figure.subplots(1, 1 + len(names), sharey=True)
    for name in names:
        panels[0].plot(
            [row["epoch"] for row in rows],
            [row["modal"].get(name, np.nan) for row in rows],
            label=short(name),
        )
    panels[0].set_title("modalities", fontsize=9)
    for panel, name in zip(panels[1:], names, strict=True):
        heard = [row for row in rows if name in row["sub"]]
        for index in range(len(heard[0]["sub"][name]) if heard else 0):
            values = [_at(row["sub"][name], index, np.nan) for row in heard]
            panel.plot([row["epoch"] for row in heard], values, label=f"expert {index}")
        panel.set_title(f"sub-experts of {short(name)}", fontsize=9)
    for panel in panels:
        panel.set_ylim(0, 1)
        panel.set_xlabel("epoch", fontsize=8)
        panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        panel.tick_params(labelsize=7)
        if panel.lines:
            panel.legend(fontsize=7)
    return svg(figure, "routes", "Mean router weights over the epochs")


@plain_text
def routes_by_genre(routing: Mapping[str, Any]) -> str:
    """Draw the weights of modalities, and of each one's sub-experts, by genre of the target."""
    groups = routing.get("groups", {})
    if not groups:
        return ""
    names = _heard(group["modal"] for group in groups.values())
    if not names:
        return ""
    figure = Figure(figsize=(10, 1.5 + 0.2 * len(groups)))
    panels = np.atleast_1d(figure.subplots(1, 1 + len(names), sharey=True))
    labels = [f"{short(genre)} ({group['rows']})" for genre, group in groups.items()]
    weights = {name: [g["modal"].get(name, 0.0) for g in groups.values()] for name in names}
    _stack(panels[0], labels, weights, "modalities")
    for panel, name in zip(panels[1:], names, strict=True):
        shares = [group["sub"].get(name, []) for group in groups.values()]
        by_expert = {
            f"expert {index}": [_at(each, index, 0.0) for each in shares]
            for index in range(max(map(len, shares)))
        }
        _stack(panel, labels, by_expert, f"sub-experts of {name}")
    for panel in panels:
        if panel.patches:
            below = (0, -0.6 / figure.get_figheight())
            panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=below)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("genre (validation rows)", fontsize=8)
    return svg(figure, "genres", "Router weights by genre of the target")


def _at(values: Sequence[float], index: int, missing: float) -> float:
    return values[index] if index < len(values) else missing


def _stack(axes: Axes, labels: list[str], parts: Mapping[str, list[float]], title: str) -> None:
    """Draw bars of stacked parts."""
    left = np.zeros(len(labels))
    for name, values in parts.items():
        axes.barh(labels, values, left=left, label=short(name))
        left += values
    axes.set_title(short(title), fontsize=9)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=7)


def _heard(weights: Iterable[Mapping[str, float]]) -> list[str]:
    """Return the modalities with a non-zero weight: the others have no table."""
    given = list(weights)
    return [name for name in given[0] if any(each[name] > 0 for each in given)]


def _axes(label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 3))
    axes = figure.subplots()
    axes.set_ylabel(label, fontsize=9)
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.tick_params(labelsize=8)
    return figure, axes


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _drawn(rows: Rows, key: str) -> bool:
    """Tell whether a column of epochs.csv has any number."""
    return any(_is_number(row.get(key)) for row in rows)


def _series(axes: Axes, rows: Rows, key: str, label: str | None = "") -> None:
    """Draw a column of epochs.csv, the line broken where a stage begins."""
    found = [(start - 0.5, float("nan")) for start in _starts(rows)]
    found += [(row["epoch"], row[key]) for row in rows if _is_number(row.get(key))]
    points = zip(*sorted(found), strict=True)
    axes.plot(*points, marker=".", label=short(key) if label == "" else label)


def _starts(rows: Rows) -> list[int]:
    """Return the first epoch of each stage, in order."""
    return [
        row["epoch"]
        for before, row in zip((None, *rows), rows, strict=False)
        if before is None or row["stage_epoch"] <= before["stage_epoch"]
    ]


def _finish(figure: Figure, axes: Axes, rows: Rows, name: str, label: str) -> Markup:
    """Mark where stages begin, add the legend and return the SVG."""
    for index, start in enumerate(_starts(rows)):
        stage = next(row["stage"] for row in rows if row["epoch"] >= start)
        axes.axvline(start - 0.5, color="0.8", linewidth=1)
        place = (start - 0.4, 1.02 + 0.06 * (index % 2))  # short stages' names do not overlap
        axes.annotate(
            short(stage), place, xycoords=("data", "axes fraction"), fontsize=7, color="0.4"
        )
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        axes.legend(once.values(), once.keys(), fontsize=8)
    return svg(figure, name, label)
