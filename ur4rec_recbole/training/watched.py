"""WatchedTrainer: RecBole's Trainer, with a monitor that sees every step and every epoch.

Base of UR4RecTrainer, which adds the stages. Hooks only: RecBole's loops are its own.
"""

import logging
import re
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor

from ur4rec_recbole.core.collective import all_rows
from ur4rec_recbole.core.memory import peak_memory
from ur4rec_recbole.evaluation.ranking import items_kept
from ur4rec_recbole.monitoring import probe
from ur4rec_recbole.monitoring.monitor import Monitor
from ur4rec_recbole.monitoring.observers import ToScalars
from ur4rec_recbole.training.parallel import ParallelTrainer


class _Reworded(logging.LoggerAdapter):
    """RecBole's logger, whose lines pass through `reword` first."""

    def __init__(self, logger: logging.Logger, reword: Callable[[str], str]) -> None:
        super().__init__(logger, {})
        self.reword = reword

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, Any]:
        return (self.reword(msg) if isinstance(msg, str) else msg), kwargs


class _NoScalars:
    """RecBole's TensorBoard writer without the curves that jump where a stage begins.

    RecBole writes the sum of an epoch's losses and the validation score, whose meaning changes with
    the stage; `ToScalars` writes both, and more, with a curve per stage.
    """

    def __init__(self, writer: Any) -> None:
        self.add_hparams = writer.add_hparams

    def add_scalar(self, *_: Any) -> None:
        """Write nothing."""


class WatchedTrainer(ParallelTrainer):
    """Reports every step and epoch to a monitor, with the names of the model's losses.

    Attributes
    ----------
    monitor
        Watches; its `findings` say what went wrong.
    parts
        The last step's loss terms by name.
    """

    cur_step: int
    tensorboard: Any
    logger: Any

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.monitor = Monitor(config, model, self.logger)
        self.monitor.observers.append(ToScalars(self.tensorboard, self.wandblogger))
        self.tensorboard = _NoScalars(self.tensorboard)
        self.logger = _Reworded(self.logger, self._count_from_one)
        self.train_data: Any = None
        self.valid_data: Any = None
        self.parts: dict[str, Tensor] = {}
        self._next_epoch = 0  # counted over all stages
        self._spent = 0.0  # seconds of the running stage
        self._row: dict[str, Any] = {}  # of the running epoch
        self._weights: dict[str, Tensor] = {}  # of the routers in the last validation

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Any = None,
        show_progress: bool = False,
    ) -> Any:
        """Train one epoch on the stage's losses, watched."""

        def losses(interaction: Any) -> tuple[Tensor, ...]:
            self.parts = self.named_losses(interaction)
            return tuple(self.parts.values())

        began = time.perf_counter()
        self.model.stage_epoch += 1
        self._next_epoch = epoch_idx + 1
        if self._next_epoch == self.epochs:
            self.eval_step = 1  # RecBole counts over all stages; a stage's last epoch is validated
        self._row, self._weights = {}, {}
        self.monitor.epoch_begins(epoch_idx)
        sums = super()._train_epoch(train_data, epoch_idx, loss_func or losses, show_progress)
        seconds = time.perf_counter() - began
        self._spent += seconds
        steps = max(len(train_data), 1)
        each = dict(zip(self.parts, sums, strict=False)) if isinstance(sums, tuple) else {}
        total = sum(sums) if isinstance(sums, tuple) else sums
        self._row = {
            "epoch": self._next_epoch,
            "stage": self.monitor.seen.name,
            "stage_epoch": self.model.stage_epoch,
            "seconds": seconds,
            "seconds_per_step": seconds / steps,
            "loss": total / steps,
            **{name: value / steps for name, value in each.items()},
            "peak_memory": peak_memory(),
        }
        if not self.valid_data or self.eval_step <= 0 or self._next_epoch % self.eval_step:
            self._epoch_ends()
        return sums

    def _check_nan(self, loss: Tensor) -> None:
        """Show each step's loss to the monitor: this is where RecBole looks at it."""
        self.monitor.step(loss.item(), self.parts)

    def _check_gradient(self, optimizer: Any, *_: Any) -> None:
        """Show each step's gradient to the monitor, before the optimizer uses it."""
        if self.enable_scaler:  # scaled, and infinite now and then by design
            return
        norms = [
            torch.linalg.vector_norm(parameter.grad)
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if norms:
            self.monitor.gradient(torch.linalg.vector_norm(torch.stack(norms)).item())

    def _epoch_hook(self, callback: Callable[[int, float], None] | None) -> Any:
        """Wrap the caller's callback, which RecBole calls where a validated epoch has ended."""

        def at_end(epoch: int, score: float) -> None:
            self._epoch_ends()
            if callback:
                callback(epoch, score)

        return at_end

    def _epoch_ends(self) -> None:
        """Show the epoch to the monitor."""
        self.monitor.epoch_ends(self._row, self._weights)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> Any:
        """Validate, keeping the metrics and the routes of the rows."""
        began = time.perf_counter()
        with probe.RouteRecorder(self.model) as recorder, items_kept(self.model):
            score, result = super()._valid_epoch(valid_data, show_progress)
        self._weights = all_rows(recorder.weights())
        self._row |= {"valid_score": score, **result}
        self._spent += time.perf_counter() - began
        return score, result

    def _count_from_one(self, line: str) -> str:
        """Count a stage's epochs from 1 where RecBole counts those of all stages from 0."""

        def renamed(match: re.Match[str]) -> str:
            before = self._next_epoch - self.model.stage_epoch  # epochs of earlier stages
            return f"{self.monitor.seen.name} epoch {int(match[1]) - before + 1}"

        return re.sub(r"epoch (\d+)(?= training| evaluating|$)", renamed, line)

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: Any
    ) -> str:
        """Name the loss terms in RecBole's line of the epoch, and give their means over steps."""
        steps = max(len(self.train_data), 1)
        several = isinstance(losses, tuple)
        means = tuple(each / steps for each in losses) if several else losses / steps
        line = super()._generate_train_loss_output(epoch_idx, s_time, e_time, means)
        for index, name in enumerate(self.parts):
            line = line.replace(f"train_loss{index + 1}", name)
        return line
