"""LiveView: how a training goes, on the terminal; plain lines where the output is none.

Attached to every UR4Rec run by quick_start.run. One bar a stage: epoch, step, loss parts, seconds a
step, time left, last and best HR@10; findings above it.
"""

from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ur4rec_recbole.monitoring.findings import Finding
from ur4rec_recbole.monitoring.observers import Observer

REDRAW = 4  # a second


class LiveView(Observer):
    """Shows a training on `stream`.

    Parameters
    ----------
    stream
        Where to; a terminal gets a progress display, anything else a line an epoch.
    terminal
        Whether it is one; None asks the stream.
    """

    def __init__(self, stream: TextIO, terminal: bool | None = None) -> None:
        self.console = Console(file=stream, force_terminal=terminal, highlight=False)
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.name, self.epochs, self.epoch = "", 0, 0
        self.last = self.best = ""
        self.best_hit = float("-inf")

    def stage_begins(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Open a bar for the stage, from the epochs on that a resumed run has done before."""
        self.name, self.epochs, self.epoch = name, epochs, done
        self.last = self.best = "-"
        self.best_hit = float("-inf")
        if not self.console.is_terminal:
            return
        if self.progress is None:
            self.progress = Progress(
                TextColumn("[bold]{task.description}"), BarColumn(bar_width=20),
                TextColumn("step {task.completed}/{task.total}"), TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=self.console, refresh_per_second=REDRAW,
            )  # fmt: skip
            self.progress.start()
        self.task = self.progress.add_task(
            name, total=epochs * steps, completed=done * steps, numbers=""
        )

    def step(self, losses: dict[str, float], seconds: float) -> None:
        """Move the bar."""
        if self.progress:
            parts = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            numbers = f"{parts}  {seconds:.3f} s/it  HR@10 {self.last} best {self.best}"
            title = f"{self.name} epoch {self.epoch + 1}/{self.epochs}"
            self.progress.update(self.task, advance=1, numbers=numbers, description=title)

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Take note of HR@10; without a terminal, print a line."""
        self.epoch = row["stage_epoch"]
        hit = row.get("hit@10", row.get("valid_score"))
        if hit is not None:
            self.best_hit = max(self.best_hit, hit)
            self.last, self.best = f"{hit:.4f}", f"{self.best_hit:.4f}"
        if self.progress is None:
            left = (self.epochs - self.epoch) * row["seconds"]
            self._print(
                f"{self.name} epoch {self.epoch}/{self.epochs}  loss {row['loss']:.4f}  "
                f"{row['seconds_per_step']:.3f} s/it  at most {left:.0f} s left  "
                f"HR@10 {self.last}  best {self.best}"
            )

    def found(self, finding: Finding) -> None:
        """Print a finding."""
        self._print(f"! {finding}")

    def stage_ends(self, summary: dict[str, Any]) -> None:
        """Close the stage's bar."""
        if self.progress:
            self.progress.update(self.task, visible=False)
        kept = f"best epoch {summary['best_epoch']}" if summary["best_epoch"] else "nothing better"
        self._print(f"{self.name} done: {summary['seconds']:.0f} s, {kept}, HR@10 {self.best}")

    def close(self) -> None:
        """Give the terminal back."""
        if self.progress:
            self.progress.stop()
            self.progress = None

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)
