"""The end of a run: its metrics, measured once, written and laid out as a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ur4rec_recbole.evaluation import protocols
from ur4rec_recbole.runs.folder import RunFolder

Metrics = dict[str, dict[str, dict[str, float]]]  # by split, protocol and name


def final_table(
    network: Any, parts: Sequence[Any], config: Any, folder: RunFolder | None
) -> Metrics:
    """Evaluate the validation and test split; write metrics and ranks; return metrics by split."""
    found: Metrics = {}
    kept: Metrics = {}
    ranks: dict[str, np.ndarray] = {}
    for name, part in _evaluated(config, parts):
        measured = protocols.measure(network, part, config)
        found[name] = measured.metrics
        kept[name] = measured.metrics | measured.details
        ranks |= measured.arrays(name)
    if folder:
        folder.write_result(kept, ranks)
    return found


def recboles_result(trainer: Any, loaders: Sequence[Any], folder: RunFolder | None) -> Metrics:
    """Evaluate as RecBole does where a user has several targets; skip a split without rows."""
    found: Metrics = {}
    for name, loader in _evaluated(trainer.config, loaders):
        result = trainer.evaluate(loader, load_best_model=False)
        if result:
            found[name] = {"recbole": {key: float(value) for key, value in result.items()}}
    if folder:
        folder.write_json("metrics.json", found)
    return found


def _evaluated(config: Any, parts: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and data of the splits, validation and test, that `evaluated_parts` holds."""
    chosen = config["evaluated_parts"] or ("valid", "test")
    return (pair for pair in zip(("valid", "test"), parts, strict=True) if pair[0] in chosen)


def table(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Lay validation and test metrics out by protocol; a dash where it cannot have one."""
    parts = [part for part in ("valid", "test") if part in metrics]
    heads = list(metrics[parts[0]]["full"])
    widths = {key: max(len(key), 8) for key in heads}
    lines = [f"{'part':<6} {'protocol':<13} " + " ".join(f"{key:>{widths[key]}}" for key in heads)]
    for part in parts:
        for protocol, values in metrics[part].items():
            numbers = [f"{values[key]:.4f}" if key in values else "-" for key in heads]
            cells = [f"{n:>{width}}" for n, width in zip(numbers, widths.values(), strict=True)]
            lines.append(f"{part:<6} {protocol:<13} {' '.join(cells)}")
    return "\n".join(lines)
