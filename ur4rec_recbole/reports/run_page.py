"""One run as one HTML page: summary, findings, metrics, plots, configuration.

ur4rec report runs/UR4Rec-ml-100k-...
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.reports import run_plots
from ur4rec_recbole.reports.pages import Plot, Table, report
from ur4rec_recbole.runs.folder import RunFolder

IN_BYTES = ("machine: memory", "peak_memory")
PROTOCOLS = (
    "Candidates of a protocol: full, all items; full_masked, all but those that the user has had; "
    "uniform_99 and popularity_99, the target and 99 items that the user never has, drawn evenly "
    "or by popularity. Higher is better."
)
DETAILS = (
    "Targets in the tail (outside the most popular fifth), cold (at most 5 training interactions) "
    "and unseen in training; thirds of the users by history length; coverage (share of the items "
    "recommended) and Gini index (0 even, near 1 few) of the first ten recommendations."
)
KEY_METRICS = ("ndcg@10", "hit@10")


def write(folder: RunFolder) -> Path:
    """Write report.html into a run folder and return its path."""
    path = folder.path / "report.html"
    with atomic_write(path) as file:
        file.write(page(folder).encode(errors="replace"))
    return path


def page(folder: RunFolder) -> str:
    """Return the page of a run; what it has not reached yet is left out."""
    about = folder.about
    title = f"{about['model']} on {about['dataset']}, seed {about.get('seed', 'unknown')}"
    rows, stages = folder.epochs(), folder.read("stages.json") or []
    routing, metrics = folder.read("routing.json") or {}, folder.read("metrics.json") or {}
    findings = folder.findings()
    parts: list[Table | Plot] = [
        *_metrics(metrics),
        _stages(stages),
        Plot("HR@10", "One line per stage; dots: what each stage handed on.",
             run_plots.hit_rate(rows, stages)),
        *(Plot(name, "", drawn) for name, drawn in run_plots.losses(rows)),
        Plot("What the routers chose", "Mean weights over the validation rows.",
             run_plots.routes(routing)),
        Plot("The same by genre of the target", "", run_plots.routes_by_genre(routing)),
        _scores(stages),
        _modalities(stages),
        Plot("Time", "", run_plots.seconds(rows)),
        _about(about, metrics),
        _configuration(about["config"]),
    ]  # fmt: skip
    return report(title, list(_summary(about, metrics, rows, findings)), parts, findings)


def _summary(
    about: Mapping[str, Any],
    metrics: Mapping[str, Any],
    rows: Sequence[Any],
    findings: Sequence[Any],
) -> Iterator[str]:
    yield f"{about['status']}, started {about.get('started', 'at an unknown time')}."
    for part in ("test", "valid"):
        measured = metrics.get(part, {})
        protocol = "full_masked" if "full_masked" in measured else next(iter(measured), "")
        values = [
            f"{key.upper()} {measured[protocol][key]:.4f}"
            for key in KEY_METRICS
            if protocol and key in measured[protocol]
        ]
        if values:
            yield f"{part}, {protocol}: {', '.join(values)}."
    spent = f" in {metrics['seconds']:.0f} s" if "seconds" in metrics else ""
    yield f"{len(rows)} epochs{spent}, {len(findings)} findings."


def _metrics(metrics: Mapping[str, Any]) -> Iterator[Table]:
    rows = [
        (part, protocol, values)
        for part in ("valid", "test")
        for protocol, values in metrics.get(part, {}).items()
    ]
    for title, note, details in (
        ("Final metrics", PROTOCOLS, False),
        ("Subsets and lists", DETAILS, True),  # a protocol with details: "full_masked/tail"
    ):
        chosen = [row for row in rows if ("/" in row[1]) == details]
        heads = list(dict.fromkeys(key for *_, values in chosen for key in values))
        cells = [[part, name, *(values.get(key) for key in heads)] for part, name, values in chosen]
        yield Table(title, note, ["part", "protocol", *heads], cells)


def _stages(stages: Sequence[Mapping[str, Any]]) -> Table:
    heads = {
        "stage": "stage",
        "epochs": "epochs",
        "best_epoch": "best epoch",
        "seconds": "seconds",
        "score": "validation score handed on",
        "sampled_hit10": "HR@10 among 100",
        "milestone": "milestone",
    }
    note = (
        "A stage hands on its best epoch's weights; best epoch 0: none was better than what it "
        "received. The milestone is the HR@10 among 100 that was expected of it."
    )
    cells = [[each.get(key) for key in heads] for each in stages]
    return Table("Stages", note, list(heads.values()), cells)


def _scores(stages: Sequence[Mapping[str, Any]]) -> Table:
    """Show HR@10 of each score by itself, at the end of the stages that use more than one."""
    measured = [stage for stage in stages if stage.get("scores")]
    heads = list(measured[0]["scores"]) if measured else []
    rows = [[each["stage"], *(each["scores"].get(head) for head in heads)] for each in measured]
    return Table("HR@10 of each score by itself", "On validation.", ["stage", *heads], rows)


def _modalities(stages: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        [stage["stage"], name, use.get("hit"), use.get("hit_shuffled"), use.get("movement")]
        for stage in stages
        for name, use in (stage.get("modalities") or {}).items()
    ]
    heads = ["stage", "modality", "HR@10", "with its table shuffled", "mean |log rank ratio|"]
    note = (
        "What each table is used for: HR@10 as it is and with the table's rows shuffled (equal: it "
        "is not used), and how far shuffling moves the targets' ranks."
    )
    return Table("Modalities", note, heads, cells)


def _about(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> Table:
    cells = [
        ["commit", about.get("commit")],
        ["data fingerprint", about.get("data_fingerprint")],
        *([f"version of {name}", value] for name, value in about["versions"].items()),
        *([f"machine: {name}", value] for name, value in about["machine"].items()),
        *([name, metrics[name]] for name in ("seconds", "peak_memory") if name in metrics),
    ]
    cells = [[name, _size(value) if name in IN_BYTES else value] for name, value in cells]
    return Table("Run", "", ["what", "value"], cells)


def _configuration(config: Mapping[str, Mapping[str, Any]]) -> Table:
    own = ("default", "recbole")
    ordered = sorted(config.items(), key=lambda pair: (pair[1]["origin"] in own, pair[0]))
    cells = [[key, str(each["value"]), each["origin"]] for key, each in ordered]
    note = "What was set comes first; an origin is a file, the command line, code or a default."
    return Table("Configuration", note, ["key", "value", "origin"], cells)


def _size(value: float) -> str:
    return f"{value / 1e9:.2f} GB"
