"""One run as one HTML page: findings, plots, tables. No scripts, nothing loaded from elsewhere.

ur4rec report runs/UR4Rec-ml-100k-...
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.reports import run_plots
from ur4rec_recbole.runs.folder import RunFolder

STYLE = """body{font:14px/1.4 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}
table{border-collapse:collapse;margin:.5em 0}td,th{border:1px solid #ccc;padding:3px 8px;
text-align:left;vertical-align:top}th{background:#eef}svg{max-width:100%;height:auto}
.finding{border-left:4px solid #c33;padding:.3em 1em;margin:.6em 0;background:#fdf4f4}"""


IN_BYTES = ("machine: memory", "peak_memory")


def write(folder: RunFolder) -> Path:
    """Write report.html into a run folder and return its path."""
    path = folder.path / "report.html"
    with atomic_write(path) as file:
        file.write(page(folder).encode())
    return path


def page(folder: RunFolder) -> str:
    """Return the page of a run; what the run has not got to yet is left out."""
    about = folder.about
    title = f"{about['model']} on {about['dataset']}, seed {about['seed']}"
    rows, stages = folder.epochs(), folder.read("stages.json") or []
    routing, metrics = folder.read("routing.json") or {}, folder.read("metrics.json") or {}
    sections = [
        ("Findings", _findings(folder.findings())),
        ("Final metrics", _metrics(metrics)),
        ("Stages", _stages(stages)),
        ("HR@10", run_plots.hit_rate(rows, stages)),
        ("Losses", run_plots.losses(rows)),
        ("What the routers chose", run_plots.routes(routing)),
        ("The same by genre of the target", run_plots.routes_by_genre(routing)),
        ("HR@10 of each score by itself", _scores(stages)),
        ("Modalities", _modalities(stages)),
        ("Time", run_plots.seconds(rows) if rows else ""),
        ("Run", _about(about, metrics)),
        ("Configuration", _configuration(about["config"])),
    ]
    body = "".join(f"<h2>{name}</h2>{drawn}" for name, drawn in sections if drawn)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{text(title)}</title>"
        f"<style>{STYLE}</style><h1>{text(title)}</h1>"
        f"<p>{text(about['status'])}, started {text(about.get('started', ''))}</p>{body}</html>"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an HTML table; numbers with a fraction are shown with four digits of it."""
    head = "".join(f"<th>{text(each)}</th>" for each in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def text(value: Any) -> str:
    """Return a value as HTML text; a number with a fraction has four digits of it."""
    return html.escape(f"{value:.4f}" if isinstance(value, float) else str(value))


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return "<p>None.</p>"
    return "".join(
        f"<div class='finding'><b>{text(each['name'])}</b> ({text(each.get('stage', ''))}, epoch "
        f"{text(each.get('epoch', ''))})<br>{text(each.get('evidence', ''))}.<br>"
        f"{text(each.get('cause', ''))}<br><b>{text(each.get('advice', ''))}</b></div>"
        for each in findings
    )


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = [
        (part, protocol, values)
        for part in ("valid", "test")
        for protocol, values in metrics.get(part, {}).items()
    ]
    if not rows:
        return ""
    pages = []
    for details in (False, True):  # of a protocol: "full_masked/tail"
        chosen = [row for row in rows if ("/" in row[1]) == details]
        heads = list(dict.fromkeys(key for *_, values in chosen for key in values))
        cells = [
            [part, name, *(values.get(key, "") for key in heads)] for part, name, values in chosen
        ]
        pages.append(table(["part", "protocol", *heads], cells) if cells else "")
    return "".join(pages)


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    if not stages:
        return ""
    heads = {
        "stage": "stage",
        "epochs": "epochs",
        "best_epoch": "best epoch (0: none was better)",
        "seconds": "seconds",
        "score": "validation score handed on",
        "sampled_hit10": "HR@10 among 100",
        "milestone": "milestone",
    }
    cells = [["-" if each.get(key) is None else each[key] for key in heads] for each in stages]
    return table(list(heads.values()), cells)


def _scores(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return HR@10 of each score by itself, at the end of the stages that use more than one."""
    measured = [stage for stage in stages if stage.get("scores")]
    if not measured:
        return ""
    heads = list(measured[0]["scores"])
    return table(["stage", *heads], [[s["stage"], *s["scores"].values()] for s in measured])


def _modalities(stages: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [stage["stage"], name, use["hit"], use["hit_shuffled"], use["movement"]]
        for stage in stages
        for name, use in stage.get("modalities", {}).items()
    ]
    heads = ["stage", "modality", "HR@10", "with its table shuffled", "mean |log rank ratio|"]
    return table(heads, cells) if cells else ""


def _about(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    cells = [
        ["commit", about.get("commit")],
        ["data fingerprint", about.get("data_fingerprint")],
        *([f"version of {name}", value] for name, value in about["versions"].items()),
        *([f"machine: {name}", value] for name, value in about["machine"].items()),
        *([name, metrics[name]] for name in ("seconds", "peak_memory") if name in metrics),
    ]
    cells = [[name, _size(value) if name in IN_BYTES else value] for name, value in cells]
    return table(["what", "value"], cells)


def _configuration(config: Mapping[str, Mapping[str, Any]]) -> str:
    own = ("default", "recbole")
    ordered = sorted(config.items(), key=lambda pair: (pair[1]["origin"] in own, pair[0]))
    cells = [[key, str(each["value"]), each["origin"]] for key, each in ordered]
    return table(["key", "value", "origin"], cells)


def _size(value: float) -> str:
    return f"{value / 1e9:.2f} GB"
