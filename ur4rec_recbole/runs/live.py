"""LiveView: shows a training's progress on the terminal, or as plain lines elsewhere.

Attached to every UR4Rec run by `quick_start.run`. One bar per stage: epoch, step, losses, seconds
per step, time left, last and best HR@10 (or another validation metric). The log's lines,
findings among them, go above the bar.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ur4rec_recbole.monitoring.findings import Finding
from ur4rec_recbole.monitoring.observers import Observer

REDRAW = 4  # a second
HIT = "hit@10"


class LiveView(Observer):
    """Shows a training on `stream`.

    Parameters
    ----------
    stream
        Output; a terminal gets a progress display, anything else a line per epoch.
    terminal
        Whether it is one; None asks the stream.
    metric
        Name of the validation metric, for a run that does not measure HR@10.
    bigger
        Whether a bigger score is better.
    """

    def __init__(
        self,
        stream: TextIO,
        terminal: bool | None = None,
        metric: str = "score",
        bigger: bool = True,
    ) -> None:
        self.console = Console(file=stream, force_terminal=terminal, highlight=False)
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.name, self.epochs, self.epoch = "", 0, 0
        self.metric, self.bigger = metric, bigger
        self.scores: list[float] = []  # of the stage's epochs
        self.losses, self.read = "", 0.0  # shown, and when they were read
        self.handlers: list[tuple[logging.StreamHandler, TextIO]] = []  # of the log, and streams

    def stage_begins(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Open a bar for the stage, from the epochs on that a resumed run has done before."""
        self.name, self.epochs, self.epoch = name, epochs, done
        self.scores = []
        if not self.console.is_terminal:
            return
        if self.progress is None:
            self.progress = self._open()
        self.task = self.progress.add_task(
            name, total=epochs * steps, completed=done * steps, numbers=""
        )

    def _open(self) -> Progress:
        """Start the bar's display, and let the log write above it where both are on a terminal."""
        progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}"), TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"), console=self.console,
            refresh_per_second=REDRAW, redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip
        streams = (sys.stdout, sys.stderr)
        progress.start()  # replaces those that are terminals
        for handler in logging.getLogger().handlers:
            stream = getattr(handler, "stream", None)
            if isinstance(handler, logging.StreamHandler) and stream in streams:
                self.handlers.append((handler, stream))
                handler.setStream(sys.stdout if stream is streams[0] else sys.stderr)
        return progress

    def step(self, losses: Callable[[], dict[str, float]], seconds: float) -> None:
        """Move the bar."""
        if not self.progress:
            return
        if time.monotonic() - self.read >= 1 / REDRAW:
            self.losses = " ".join(f"{name} {value:.3f}" for name, value in losses().items())
            self.read = time.monotonic()
        numbers = f"{self.losses}  {seconds:.3f} s/it  {self._validation()}"
        title = f"{self.name} epoch {self.epoch + 1}/{self.epochs}"
        self.progress.update(self.task, advance=1, numbers=numbers, description=title)

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Take note of HR@10 or the validation score; without a terminal, print a line."""
        self.epoch = row["stage_epoch"]
        if HIT in row:
            self.metric, self.bigger = "HR@10", True
        if HIT in row or "valid_score" in row:
            self.scores.append(row[HIT] if HIT in row else row["valid_score"])
        if self.progress is None:
            left = (self.epochs - self.epoch) * row["seconds"]
            self._print(
                f"{self.name} epoch {self.epoch}/{self.epochs}  loss {row['loss']:.4f}  "
                f"{row['seconds_per_step']:.3f} s/it  at most {left:.0f} s left  "
                f"{self._validation()}"
            )

    def found(self, finding: Finding) -> None:
        """Print a finding where the log, which has it as a warning, is silenced."""
        if not logging.getLogger().isEnabledFor(logging.WARNING):
            self._print(f"! {finding}")

    def stage_ends(self, summary: dict[str, Any]) -> None:
        """Close the stage's bar."""
        if self.progress:
            self.progress.update(self.task, visible=False)
        kept = f"best epoch {summary['best_epoch']}" if summary["best_epoch"] else "nothing better"
        self._print(f"{self.name} done: {summary['seconds']:.0f} s, {kept}, {self._validation()}")

    def close(self) -> None:
        """Give the terminal back."""
        if self.progress:
            self.progress.stop()
            self.progress = None
        while self.handlers:
            handler, stream = self.handlers.pop()
            handler.setStream(stream)

    def _validation(self) -> str:
        if not self.scores:
            return f"{self.metric} -"
        best = max(self.scores) if self.bigger else min(self.scores)
        return f"{self.metric} {self.scores[-1]:.4f} best {best:.4f}"

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)
