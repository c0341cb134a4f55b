"""UR4RecTrainer: RecBole's Trainer, run once a stage.

Each stage has its own optimizer, rates, patience and best weights, starts from the weights of the
one before, and hands on nothing that validates worse than what it received.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from recbole.trainer import Trainer
from torch import Tensor

from ur4rec_recbole.trainer.stages import Stage, read_stages


class StageResult(NamedTuple):
    """What a stage came to.

    Attributes
    ----------
    stage
        Its name.
    epochs
        Epochs run.
    best_epoch
        The epoch, from 1, whose weights were handed on; 0 for those it began with.
    seconds
        Wall-clock time.
    score
        Validation score of what is handed on.
    metrics
        Validation metrics of what is handed on.
    """

    stage: str
    epochs: int
    best_epoch: int
    seconds: float
    score: float
    metrics: dict[str, float]


class UR4RecTrainer(Trainer):
    """Trains a UR4Rec model stage by stage; everything else is RecBole's.

    Attributes
    ----------
    stages
        The stages to run.
    results
        A `StageResult` for each that has run.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.stages = read_stages(config)
        self.results: list[StageResult] = []
        self.loss_names: tuple[str, ...] = ()
        self.model.stage_index = self.model.stage_epoch = 0
        self._first = 0  # index of the stage that fit begins with
        self._resumed = False
        self._next_epoch = 0  # counted over all stages
        self._best_epoch = 0
        self._best_state: dict[str, Tensor] = {}
        self._handed_on = self._worst()
        self._metrics: dict[str, float] = {}  # of what was handed on

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Run all stages. Arguments and return value are those of RecBole's `Trainer.fit`."""
        if valid_data:
            self._handed_on, self._metrics = super()._valid_epoch(valid_data)
        for index, stage in enumerate(self.stages[self._first :], start=self._first):
            began = time.perf_counter()
            received = self._snapshot()
            if not self._resumed:
                self._begin(stage)
            self._resumed = False
            self.model.stage_index = index
            super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
            if valid_data:
                self._hand_on(stage, received, valid_data)
            self._report(stage, time.perf_counter() - began)
            if saved:
                self._save_checkpoint(self._next_epoch - 1, verbose=False)
        if not valid_data:
            return -1, None
        return self._handed_on, self.best_valid_result

    def resume_checkpoint(self, resume_file: str | os.PathLike[str]) -> None:
        """Load a checkpoint, so that `fit` goes on in the stage and epoch that it was saved in."""
        # RecBole's checkpoints hold its Config and cannot be read without unpickling.
        saved = torch.load(resume_file, map_location=self.device, weights_only=False)
        self._first = saved["other_parameter"]["stage_index"]
        self._begin(self.stages[self._first])  # the optimizer needs the groups of that stage
        super().resume_checkpoint(resume_file)
        self._next_epoch = self.start_epoch
        left = self.stages[self._first].epochs - self.model.stage_epoch
        self.epochs = self.start_epoch + max(left, 0)
        self._resumed = True

    def _begin(self, stage: Stage) -> None:
        """Set model, optimizer and RecBole's counters up for a stage."""
        self.start_epoch = self._next_epoch
        self.epochs = self.start_epoch + stage.epochs
        self.eval_step = min(self.config["eval_step"], max(stage.epochs, 1))
        self.stopping_step = stage.patience
        self.cur_step = self._best_epoch = 0
        self.model.stage_epoch = 0
        # Inside a stage its own best counts: a retriever that does not yet help is still worth
        # handing to the stage that follows.
        self.best_valid_score = self._worst()
        self._best_state = {}
        self.model.enter(stage)
        parts = self.model.parts()
        groups = [
            {"params": [p for module in parts[part] for p in module.parameters()], "lr": rate}
            for part, rate in stage.rates.items()
        ]
        self.optimizer = self._build_optimizer(params=groups)
        if self.learner.lower() in ("adam", "adamw"):
            for group in self.optimizer.param_groups:
                group["fused"] = True  # RecBole passes no such option on

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Any = None,
        show_progress: bool = False,
    ) -> Any:
        """Train one epoch on the stage's losses, remembering their names."""

        def losses(interaction: Any) -> tuple[Tensor, ...]:
            named = self.model.named_losses(interaction)
            self.loss_names = tuple(named)
            return tuple(named.values())

        self.model.stage_epoch += 1
        self._next_epoch = epoch_idx + 1
        return super()._train_epoch(train_data, epoch_idx, loss_func or losses, show_progress)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> Any:
        """Validate, and keep a copy of the weights where they are the stage's best."""
        score, result = super()._valid_epoch(valid_data, show_progress)
        if not self._worse(score, self.best_valid_score):
            self._best_state = self._snapshot()
            self._best_epoch = self.model.stage_epoch
        return score, result

    def _hand_on(self, stage: Stage, received: dict[str, Tensor], valid_data: Any) -> None:
        """Load the stage's best weights, or what it received where that validates better."""
        if self._best_state:
            self.model.load_state_dict(self._best_state)
        else:
            self.best_valid_score, self.best_valid_result = super()._valid_epoch(valid_data)
        if not self._worse(self.best_valid_score, self._handed_on):
            self._handed_on, self._metrics = self.best_valid_score, self.best_valid_result
            return
        self._best_epoch = 0
        self.best_valid_score, self.best_valid_result = self._handed_on, self._metrics
        frozen = "encoder" not in stage.rates and int(received["score"]) == 0
        if frozen:
            # The sequence score has not changed: predict by it, and keep what the stage learned.
            self.model.score.copy_(received["score"])
        else:
            self.model.load_state_dict(received)

    def _report(self, stage: Stage, seconds: float) -> None:
        """Log one line for a stage that has ended."""
        metrics = dict(self.best_valid_result or {})
        epochs = self.model.stage_epoch
        result = StageResult(
            stage.name, epochs, self._best_epoch, seconds, self._handed_on, metrics
        )
        self.results.append(result)
        shown = ("hit@5", "hit@10", "hit@20", "ndcg@10")
        values = "  ".join(f"{key} {metrics[key]:.4f}" for key in shown if key in metrics)
        kept = f"best epoch {result.best_epoch} of {result.epochs}"
        if not result.best_epoch:
            kept = f"no better in {result.epochs} epochs: predictions stay as they were"
        self.logger.info(
            f"stage {stage.name}: {values or 'no validation'}  {seconds:.0f} s  {kept}"
        )

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Save as RecBole does, atomically, and never over a file that validates better."""
        if self._worse(self.best_valid_score, self._handed_on):
            return
        target = kwargs.pop("saved_model_file", self.saved_model_file)
        partial = f"{target}.tmp"
        super()._save_checkpoint(epoch, verbose=False, saved_model_file=partial, **kwargs)
        if Path(partial).exists():  # under DDP only the first rank writes
            os.replace(partial, target)
            if verbose:
                self.logger.info(f"Saving current: {target}")

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: Any
    ) -> str:
        """Name the loss parts in RecBole's line of the epoch."""
        line = super()._generate_train_loss_output(epoch_idx, s_time, e_time, losses)
        for index, name in enumerate(self.loss_names):
            line = line.replace(f"train_loss{index + 1}", name)
        return line

    def _snapshot(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self.model.state_dict().items()}

    def _worst(self) -> float:
        return -float("inf") if self.valid_metric_bigger else float("inf")

    def _worse(self, score: float, other: float) -> bool:
        return score < other if self.valid_metric_bigger else score > other
