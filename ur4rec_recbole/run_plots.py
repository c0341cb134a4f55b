"""The plots of one run as inline SVG: losses, HR@10 with milestones, routes, seconds a step.

Used by run_page.py. Each function returns "" where the run has nothing to draw.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NOT_LOSSES = frozenset(
    "epoch stage stage_epoch seconds seconds_per_step peak_memory gradient_norm valid_score".split()
)
Rows = Sequence[Mapping[str, Any]]


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element; `name` keeps its ids apart from other figures'."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    found = text.getvalue()
    return re.sub(r'\bid="|(?<=url\()#|(?<=href=")#', lambda m: m[0] + f"{name}-", found)[
        found.index("<svg") :
    ]


def losses(rows: Rows) -> str:
    """Draw the loss parts of every epoch."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    parts = [key for key in keys if key not in NOT_LOSSES and "@" not in key]
    if not parts:
        return ""
    figure, axes = _axes("loss")
    for part in parts:
        _series(axes, rows, part)
    return _finish(figure, axes, rows, "losses")


def hit_rate(rows: Rows, stages: Rows) -> str:
    """Draw HR@10 of every epoch, and at each stage's end HR@10 of 100 with its milestone."""
    key = "hit@10" if any("hit@10" in row for row in rows) else "valid_score"
    if not any(key in row for row in rows):
        return ""
    figure, axes = _axes("HR@10" if key == "hit@10" else "validation score")
    _series(axes, rows, key, "all items")
    ends = _ends(rows)
    for index, stage in enumerate(stages):
        if index >= len(ends):
            break
        first = ends[index - 1] + 1 if index else 0
        if stage.get("hit_of_100") is not None:
            label = "" if index else "among 100, handed on"
            axes.plot(ends[index], stage["hit_of_100"], "o", color="tab:green", label=label)
        if stage.get("milestone") is not None:
            label = "" if index else "milestone (among 100)"
            span = (stage["milestone"], first, ends[index])
            axes.hlines(*span, "tab:red", "dashed", label=label)
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, rows, "hit")


def seconds(rows: Rows) -> str:
    """Draw the seconds a step of every epoch."""
    key = "seconds_per_step" if any("seconds_per_step" in row for row in rows) else "seconds"
    figure, axes = _axes("s / step" if key == "seconds_per_step" else "s / epoch")
    _series(axes, rows, key, None)
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, rows, "seconds")


def routes(routing: Mapping[str, Any]) -> str:
    """Draw the mean weight of each modality, and of each of its sub-experts, over the epochs."""
    rows = routing.get("epochs", [])
    if not rows:
        return ""
    names = list(rows[0]["modal"])
    figure = Figure(figsize=(10, 2.6))
    panels = figure.subplots(1, 1 + len(names), sharey=True)
    for name in names:
        panels[0].plot([r["epoch"] for r in rows], [r["modal"][name] for r in rows], label=name)
    panels[0].set_title("modalities", fontsize=9)
    for panel, name in zip(panels[1:], names, strict=True):
        heard = [row for row in rows if name in row["sub"]]
        for index in range(len(heard[0]["sub"][name]) if heard else 0):
            values = [row["sub"][name][index] for row in heard]
            panel.plot([row["epoch"] for row in heard], values, label=f"expert {index}")
        panel.set_title(f"sub-experts of {name}", fontsize=9)
    for panel in panels:
        panel.set_ylim(0, 1)
        panel.set_xlabel("epoch", fontsize=8)
        panel.tick_params(labelsize=7)
        if panel.lines:
            panel.legend(fontsize=7)
    return svg(figure, "routes")


def routes_by_genre(routing: Mapping[str, Any]) -> str:
    """Draw the weight of each modality by genre of the target item."""
    groups = routing.get("groups", {})
    if not groups:
        return ""
    figure = Figure(figsize=(9, 0.8 + 0.24 * len(groups)))
    axes = figure.subplots()
    names = list(next(iter(groups.values()))["modal"])
    labels = [f"{genre} ({group['rows']})" for genre, group in groups.items()]
    left = [0.0] * len(groups)
    for name in names:
        values = [group["modal"][name] for group in groups.values()]
        axes.barh(labels, values, left=left, label=name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    axes.set_xlabel("mean router weight (validation rows in brackets)", fontsize=8)
    axes.legend(fontsize=7, loc="lower right")
    return svg(figure, "genres")


def _axes(label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 3))
    axes = figure.subplots()
    axes.set_ylabel(label, fontsize=9)
    axes.set_xlabel("epoch", fontsize=9)
    axes.tick_params(labelsize=8)
    return figure, axes


def _series(axes: Axes, rows: Rows, key: str, label: str | None = "") -> None:
    found = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
    axes.plot(*zip(*found, strict=True), marker=".", label=key if label == "" else label)


def _ends(rows: Rows) -> list[int]:
    """Return the last epoch of each stage, in order."""
    ends = [
        row["epoch"]
        for row, following in zip(rows, rows[1:], strict=False)
        if following["stage_epoch"] <= row["stage_epoch"]
    ]
    return [*ends, *([rows[-1]["epoch"]] if rows else [])]


def _finish(figure: Figure, axes: Axes, rows: Rows, name: str) -> str:
    """Mark where stages begin, add the legend and return the SVG."""
    starts = [0, *(end + 1 for end in _ends(rows)[:-1])]
    for start in starts:
        stage = next(row["stage"] for row in rows if row["epoch"] >= start)
        axes.axvline(start - 0.5, color="0.8", linewidth=1)
        place = (start - 0.4, 1.01)
        axes.annotate(stage, place, xycoords=("data", "axes fraction"), fontsize=7, color="0.4")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8)
    return svg(figure, name)
