"""What a run says while it trains: lines in the log, and on a terminal a bar below them.

announce   before the first step: what is trained, for how long at most, and where it is kept
EpochLog   an epoch's losses and validation, and the time that is left
Bar        one bar per stage; the log's lines, findings among them, go above it

`keeping` attaches them to every run; RecBole's own models have the lines without the bar.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ur4rec_recbole.monitoring.observers import Observer
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.training import resume_recbole
from ur4rec_recbole.training.ensemble import UR4RecEnsembleTrainer

LINES = 25  # that a run's epochs take in the log, about; epochs.csv has every epoch
REDRAW = 4  # a second
HIT = "hit@10"


def announce(trainer: Any, folder: RunFolder, train: Any) -> None:
    """Log what a run is about to do; `train` is its training data set."""
    config, logger = trainer.config, getLogger()
    size = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    logger.info(
        f"{config['model']} on {config['dataset']}: {train.user_num - 1:,} users, "
        f"{train.item_num - 1:,} items; {size:,} parameters; seed {config['seed']}, "
        f"{config['device']}"
    )
    stages = ", ".join(f"{name} {epochs}" for name, epochs in limits(trainer) if epochs)
    logger.info(f"epochs, at most: {stages}; the first one tells how long they take")
    if _sets_epochs_in_vain(config):
        logger.warning(
            f"epochs: {config['epochs']} has no effect: each stage has epochs of its own"
        )
    logger.info(f"run folder: {folder.path} (configuration: run.json, curves: epochs.csv)")


def _sets_epochs_in_vain(config: Any) -> bool:
    """Tell whether `epochs` was set by hand where a preset's stages all have their own."""
    given = {**config.variable_config_dict, **config.cmd_config_dict}
    stages = config["stages"] or [None]
    return "epochs" in given and all(isinstance(s, dict) and "epochs" in s for s in stages)


def limits(trainer: Any) -> list[tuple[str, int]]:
    """Return the name and the most epochs of each stage; RecBole's models have a single one."""
    stages = getattr(trainer, "stages", None)
    if stages is not None:
        return [(stage.name, stage.epochs) for stage in stages]
    if isinstance(trainer, UR4RecEnsembleTrainer):  # its weights are chosen at once
        return [("training", 1)]
    pretrains = resume_recbole.pretrains(trainer)
    return [("training", trainer.pretrain_epochs if pretrains else trainer.epochs)]


class EpochLog(Observer):
    """Logs a stage's first epoch, and then as many that a run's epochs take about `LINES` lines.

    Parameters
    ----------
    stages
        Name and most epochs of each stage that is to come.
    metric
        Name of the validation metric, for a run that does not measure HR@10.
    bigger
        Whether a bigger score is better.
    """

    def __init__(
        self, stages: Sequence[tuple[str, int]], metric: str = "score", bigger: bool = True
    ) -> None:
        self.ahead = [epochs for _, epochs in stages]
        self.every = max(1, math.ceil(sum(self.ahead) / LINES))
        self.name, self.epochs, self.first = "", 0, 1
        self.validation = Validation(metric, bigger)
        self.began = 0.0  # the running epoch

    def stage_begins(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Begin a stage, or go on with one that was interrupted."""
        self.name, self.epochs, self.first = name, epochs, done + 1
        self.ahead = self.ahead[1:]
        self.validation.scores = []
        self.began = time.perf_counter()

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Log the epoch, where it is one of those that are."""
        now = time.perf_counter()
        seconds, self.began = now - self.began, now
        self.validation.add(row)
        epoch = row["stage_epoch"]
        if epoch > self.first and epoch % self.every:
            return
        left = seconds * (self.epochs - epoch + sum(self.ahead))
        loss = f"loss {row['loss']:.4f}  " if row.get("loss") is not None else ""
        getLogger().info(
            f"{self.name} epoch {epoch}/{self.epochs}  {loss}{self.validation}  "
            f"{seconds:.1f} s, at most {duration(left)} left"
        )


class Validation:
    """HR@10 of a stage's epochs, or another metric where that is not measured: last and best."""

    def __init__(self, metric: str, bigger: bool) -> None:
        self.metric, self.bigger = metric, bigger
        self.scores: list[float] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take note of an epoch."""
        if HIT in row:
            self.metric, self.bigger = "HR@10", True
        if HIT in row or "valid_score" in row:
            self.scores.append(row[HIT] if HIT in row else row["valid_score"])

    def __str__(self) -> str:
        if not self.scores:
            return "not validated"
        best = max(self.scores) if self.bigger else min(self.scores)
        return f"{self.metric} {self.scores[-1]:.4f} best {best:.4f}"


def duration(seconds: float) -> str:
    """Return a time as people say it: `50 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class Bar(Observer):
    """Shows each stage as a bar: epoch, step, losses, seconds per step, time left, validation.

    Parameters
    ----------
    stream
        The terminal that the log is written to.
    metric, bigger
        As in `EpochLog`.
    """

    def __init__(self, stream: TextIO, metric: str = "score", bigger: bool = True) -> None:
        self.console = Console(file=stream, force_terminal=True, highlight=False)
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.name, self.epochs, self.epoch = "", 0, 0
        self.validation = Validation(metric, bigger)
        self.losses, self.read = "", 0.0  # shown, and when they were read
        self.handlers: list[tuple[logging.StreamHandler, TextIO]] = []  # of the log, and streams

    def stage_begins(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Open a bar for the stage, from the epochs on that a resumed run has done before."""
        self.name, self.epochs, self.epoch = name, epochs, done
        self.validation.scores = []
        if self.progress is None:
            self.progress = self._open()
        self.task = self.progress.add_task(
            name, total=epochs * steps, completed=done * steps, numbers=""
        )

    def _open(self) -> Progress:
        """Start the bar's display, and let the log write above it."""
        progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}"), TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"), console=self.console,
            refresh_per_second=REDRAW, transient=True, redirect_stdout=sys.stdout.isatty(),
        )  # fmt: skip
        progress.start()  # puts streams that write above the bar in the terminal's place
        for handler in getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream.isatty():
                self.handlers.append((handler, handler.stream))
                handler.setStream(sys.stderr)
        return progress

    def step(self, losses: Callable[[], dict[str, float]], seconds: float) -> None:
        """Move the bar."""
        if not self.progress:
            return
        if time.monotonic() - self.read >= 1 / REDRAW:
            self.losses = " ".join(f"{name} {value:.3f}" for name, value in losses().items())
            self.read = time.monotonic()
        numbers = f"{self.losses}  {seconds:.3f} s/it  {self.validation}"
        title = f"{self.name} epoch {self.epoch + 1}/{self.epochs}"
        self.progress.update(self.task, advance=1, numbers=numbers, description=title)

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Take note of the epoch's validation."""
        self.epoch = row["stage_epoch"]
        self.validation.add(row)

    def stage_ends(self, summary: dict[str, Any]) -> None:
        """Remove the stage's bar."""
        if self.progress:
            self.progress.remove_task(self.task)

    def close(self) -> None:
        """Give the terminal back."""
        if self.progress:
            self.progress.stop()
            self.progress = None
        while self.handlers:
            handler, stream = self.handlers.pop()
            handler.setStream(stream)
