"""Observers: told by the monitor of every event of a training.

Observer         the interface, all of it optional
ToScalars        RecBole's TensorBoard and W&B writers get the same numbers
"""

from collections.abc import Callable
from typing import Any

from ur4rec_recbole.monitoring.findings import Finding


class Observer:
    """Notified of every event of a training; each method does nothing unless overridden."""

    def stage_begins(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Take note of a stage of at most `epochs` epochs of `steps` steps, `done` of them done."""

    def step(self, losses: Callable[[], dict[str, float]], seconds: float) -> None:
        """Take note of a step and of the time since the last one.

        `losses` reads the step's loss terms off the device, and waits for it: call it seldom.
        """

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Take note of an epoch: its line in epochs.csv."""

    def routed(self, row: dict[str, Any], weights: dict[str, Any]) -> None:
        """Take note of mean routes over an epoch's validation rows, and of all [R, ...] weights."""

    def found(self, finding: Finding) -> None:
        """Take note of a finding."""

    def stage_ends(self, summary: dict[str, Any]) -> None:
        """Take note of a stage's result and measurements."""

    def close(self) -> None:
        """Take note that training is over."""


class ToScalars(Observer):
    """Gives RecBole's TensorBoard and W&B writers the scalars of epochs and routes.

    Parameters
    ----------
    tensorboard, wandb
        The trainer's own; W&B does nothing unless `log_wandb` is set.
    """

    def __init__(self, tensorboard: Any, wandb: Any) -> None:
        self.tensorboard = tensorboard
        self.wandb = wandb

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Write loss terms and metrics, one series per stage."""
        skipped = ("epoch", "stage", "stage_epoch")
        values = {key: value for key, value in row.items() if key not in skipped}
        self._write({f"{row['stage']}/{key}": value for key, value in values.items()}, row["epoch"])

    def routed(self, row: dict[str, Any], weights: dict[str, Any]) -> None:
        """Write mean router weights, and the distribution of each router's weights."""
        values = {f"router/{name}": value for name, value in row["modal"].items()}
        for name, shares in row["sub"].items():
            values |= {f"sub_router/{name}/{index}": share for index, share in enumerate(shares)}
        self._write(values, row["epoch"])
        for name, each in weights.items():
            self.tensorboard.add_histogram(f"routes/{name}", each, row["epoch"])

    def _write(self, values: dict[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, epoch)
        self.wandb.log_metrics({**values, "train_step": epoch}, head="train")
