"""The end of a run: its metrics, measured once, written and laid out as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.runs.folder import RunFolder

Metrics = dict[str, dict[str, dict[str, float]]]  # by part, protocol and name


def final_table(
    network: Any, parts: Sequence[Any], config: Any, folder: RunFolder | None
) -> Metrics:
    """Evaluate validation and test part; write metrics and ranks; return metrics by part."""
    found: Metrics = {}
    kept: Metrics = {}
    ranks: dict[str, np.ndarray] = {}
    for name, part in zip(("valid", "test"), parts, strict=True):
        measured = protocols.measure(network, part, config)
        found[name] = measured.metrics
        kept[name] = measured.metrics | measured.details
        ranks |= measured.arrays(name)
    if folder:
        folder.write_result(kept, ranks)
    return found


def recboles_result(trainer: Any, loaders: Sequence[Any], folder: RunFolder | None) -> Metrics:
    """Evaluate as RecBole does where a user has several targets; a part without rows has none."""
    found: Metrics = {}
    for name, loader in zip(("valid", "test"), loaders, strict=True):
        result = trainer.evaluate(loader, load_best_model=False)
        if result:
            found[name] = {"recbole": {key: float(value) for key, value in result.items()}}
    if folder:
        folder.write_json("metrics.json", found)
    return found


def table(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Lay validation and test metrics out by protocol."""
    heads = list(metrics["test"]["full"])
    lines = [f"{'part':<6} {'protocol':<13} " + " ".join(f"{key:>8}" for key in heads)]
    for part in ("valid", "test"):
        for protocol, values in metrics[part].items():
            numbers = " ".join(f"{values[key]:>8.4f}" for key in heads)
            lines.append(f"{part:<6} {protocol:<13} {numbers}")
    return "\n".join(lines)
