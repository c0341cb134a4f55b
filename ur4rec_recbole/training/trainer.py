"""UR4RecTrainer: RecBole's Trainer, run once per stage.

Each stage has its own optimizer, rates, patience and best weights, starts from the weights of the
one before, and hands on nothing that validates worse than what it received. A monitor watches; in a
run folder, every epoch leaves all that a killed run needs to go on (resume.py).
"""

import itertools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ur4rec_recbole.core import collective
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.fingerprints import INPUTS, check_inputs, table_hashes
from ur4rec_recbole.model.corrections import Correction
from ur4rec_recbole.model.stages import Stage, read_stages
from ur4rec_recbole.monitoring import probe
from ur4rec_recbole.monitoring.findings import Finding, NotFinite
from ur4rec_recbole.training import resume, schedule
from ur4rec_recbole.training.averaging import WeightAverage
from ur4rec_recbole.training.targets import of_targets
from ur4rec_recbole.training.watched import WatchedTrainer

NO_FOLDER = (
    "RecBole's entry points keep a checkpoint and no run folder: `ur4rec train` and "
    "ur4rec_recbole.run(...) keep one, with curves, findings and what a killed run goes on from"
)

CHOOSING = 2**31  # scores of validation rows that fit what no gradient trains; more say no more


class StageResult(NamedTuple):
    """The result of a stage.

    Attributes
    ----------
    stage
        Its name.
    epochs
        Epochs run.
    best_epoch
        The epoch, from 1, by whose weights predictions go on; 0 if they stay as they were.
    seconds
        Wall-clock time.
    score
        Validation score of what is handed on.
    metrics
        Validation metrics of what is handed on.
    sampled_hit10
        Its HR@10 against 99 unseen items, or None.
    kept_epoch
        The epoch, from 1, whose weights stay in the model: also of a retriever that predictions
        leave out. 0 for those it began with.
    """

    stage: str
    epochs: int
    best_epoch: int
    seconds: float
    score: float
    metrics: dict[str, float]
    sampled_hit10: float | None = None
    kept_epoch: int = 0

    @classmethod
    def from_state(cls, kept: dict[str, Any]) -> "StageResult":
        """Return a result that resume.pth has kept, under an older run's name too."""
        now = {"hit_of_100": "sampled_hit10"}
        told = {now.get(key, key): value for key, value in kept.items()}
        return cls(**{"kept_epoch": told["best_epoch"], **told})


class UR4RecTrainer(WatchedTrainer):
    """Trains a UR4Rec model stage by stage; everything else is RecBole's.

    Attributes
    ----------
    stages
        The stages to run.
    results
        A `StageResult` for each that has run.
    folder
        Where the run is kept, or None; of several processes the first keeps it.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.stages = read_stages(config)
        # Every checkpoint holds the configuration, and by it the hashes.
        config[INPUTS] = (config[INPUTS] or {}) | table_hashes(config)
        self.results: list[StageResult] = []
        self.folder: Path | None = None
        self.model.stage_index = self.model.stage_epoch = 0
        self._first = 0  # index of the stage that fit begins with
        self._resumed = False
        self._best_epoch = 0
        self._best_state: dict[str, Tensor] = {}
        self._handed_on = self._worst()
        self._average: WeightAverage | None = None
        self._metrics: dict[str, float] = {}  # of what was handed on
        self._received: dict[str, Tensor] = {}
        self._resumed_from: Path | None = None  # until fit goes on
        self._state: dict[str, Any] = {}  # of a resumed run, likewise

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
        self.train_data, self.valid_data = train_data, valid_data
        corrections = self.model.corrections if valid_data else []
        chosen = [each for each in corrections if self.config[each.key] is None]
        for correction in chosen:  # a checkpoint may know what another training came to
            correction.forget()
        if verbose and self.folder is None:
            self.logger.info(NO_FOLDER)
        self.eval_collector.data_collect(
            train_data
        )  # RecBole's own call comes after this validation
        if valid_data and not self._next_epoch:
            self.monitor.training_begins(valid_data._dataset)
        if valid_data and not self._metrics:
            self._handed_on, self._metrics = super()._valid_epoch(valid_data)
            if self._resumed:  # from a checkpoint, without what was chosen then
                self._received, self.best_valid_score = self._snapshot(), self._handed_on
        for index in range(self._first, len(self.stages)):
            if not self._resumed:
                self._received, self._spent = self._snapshot(), 0.0
                self._begin(self.stages[index])
            self._resumed = False
            self.model.stage_index = index
            self.monitor.begin(self.stages, index, len(train_data))
            if self._resumed_from:
                with resume.going_on(self._resumed_from):
                    self.monitor.restore(self._state["monitor"])
                    resume.set_random_state(self._state["random"], train_data)
                self._resumed_from, self._state = None, {}
            self._follow_schedule(self.stages[index], len(train_data))
            try:
                at_end = self._epoch_hook(callback_fn)
                super().fit(train_data, valid_data, verbose, saved, show_progress, at_end)
            except NotFinite:
                self._fall_back()
            self._end(self.stages[index])
            if saved:
                self._save_checkpoint(self._next_epoch - 1, verbose=False)
        with self.model.items_kept():
            for correction in chosen:
                self._choose(correction, saved)
        reached = self.results[-1].sampled_hit10 if self.results else None
        valid = valid_data._dataset if valid_data else None
        self.monitor.training_ends(reached, train_data._dataset, valid)
        collective.agreed(None)  # the first process has written what others may read
        if not valid_data:
            return -1, None
        return self._handed_on, self.best_valid_result

    @torch.no_grad()
    def _choose(self, correction: Correction, saved: bool) -> None:
        """Fit a correction to validation rows, if it helps there or somebody pays for it."""
        self.model.eval()
        every = 1 + len(self.valid_data._dataset) * self.model.n_items // CHOOSING
        some = itertools.islice(self.valid_data, 0, None, every)
        rows = (of_targets(batch, self.valid_data) for batch, *_ in some)
        found = [self.model.evidence(correction, each.to(self.device)).cpu() for each in rows]
        evidence = collective.all_rows({"rows": torch.cat(found)})["rows"]
        correction.fit(evidence.to(self.device))
        if not correction.is_active:
            self.logger.info(f"{correction.told_as}: nothing to choose, left out")
            return
        score, result = super()._valid_epoch(self.valid_data)
        if not correction.has_price and self._worse(score, self._handed_on):
            correction.forget()
            self.logger.info(f"{correction.told_as}: no better, left out")
            return
        self.logger.info(
            f"{correction.told_as}: {correction.told()}, {self.valid_metric} {score:.4f}"
        )
        self._handed_on = self.best_valid_score = score
        self._metrics = self.best_valid_result = result
        if saved:
            self._save_checkpoint(self._next_epoch - 1, verbose=False)

    def keep(self, folder: Path, resumed: bool = False) -> tuple[int, int]:
        """Keep the training in a folder; with `resumed`, go on from what is there.

        Returns the stages that have ended, and the epoch that comes next.
        """
        self.folder = folder
        if not (resumed and self.go_on_from(folder)):
            resume.save_weights(self, 0)
        return self._first, self._next_epoch

    def go_on_from(self, folder: Path) -> bool:
        """Take up the state that a run's folder has; False where it has none yet."""
        state = resume.load(folder, self.device)
        if state is None:
            return False
        with resume.going_on(folder):
            self._restore(state, folder)
        return True

    def _restore(self, state: dict[str, Any], folder: Path) -> None:
        """Go on from a state that `resume.save` wrote."""
        state["random"] = resume.own_random_state(state)
        self._first = range(len(self.stages)).index(state["stage_index"])
        self._next_epoch = state["_next_epoch"]
        self._begin(self.stages[self._first])
        self.model.stage_epoch = state["stage_epoch"]
        for name in resume.COUNTERS:
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._average and state.get("average"):  # older runs have none
            self._average.restore(state["average"])
        self._received = resume.load_weights(self, folder, self._first)
        self.results = [StageResult.from_state(result) for result in state["results"]]
        self.monitor.findings = [Finding(**each) for each in state["findings"]]
        self._state, self._resumed_from = state, folder
        self._go_on()

    def _go_on(self) -> None:
        """Set RecBole's counters to the next epoch of a stage that was begun before."""
        left = self.stages[self._first].epochs - self.model.stage_epoch
        over = self.cur_step > self.stages[self._first].patience
        self.start_epoch = self._next_epoch
        self.epochs = self.start_epoch + (0 if over else max(left, 0))
        self._resumed = True

    def resume_checkpoint(self, resume_file: str | os.PathLike[str]) -> None:
        """Load a checkpoint, so that `fit` goes on in the stage and epoch that it was saved in.

        The file is unpickled. One that was made with other feature tables is an `InputError`.
        """
        # RecBole's checkpoints hold its Config and cannot be read without unpickling.
        saved = torch.load(resume_file, map_location=self.device, weights_only=False)
        before, now = (each[INPUTS] for each in (saved["config"], self.config))
        if before is not None:  # else it is older than this check
            check_inputs(f"Checkpoint {resume_file}", before, now)
        self._first = saved["other_parameter"]["stage_index"]
        self._begin(self.stages[self._first])  # the optimizer needs the groups of that stage
        super().resume_checkpoint(resume_file)
        if self._average:
            self._average.begin()  # what a checkpoint holds is averaged already
        self._next_epoch = self.start_epoch
        self._received = self._snapshot()
        self._go_on()

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
        self.parallelise()
        parts = self.model.parts()
        groups = [
            {"params": [p for module in parts[part] for p in module.parameters()], "lr": rate}
            for part, rate in stage.rates.items()
        ]
        self.optimizer = self._build_optimizer(params=groups)
        if self.learner.lower() in ("adam", "adamw"):
            for group in self.optimizer.param_groups:
                group["fused"] = True  # RecBole passes no such option on
        self.optimizer.register_step_pre_hook(self._check_gradient)
        self._average = None
        if self.config["weight_average"]:
            self._average = WeightAverage(self.model, self.config["weight_average"])
            self.optimizer.register_step_post_hook(self._average.update)

    def _follow_schedule(self, stage: Stage, n_batches: int) -> None:
        """Let the rates rise and fall as `warmup_epochs` and `rate_decay` say."""
        warmup, decay = round(self.config["warmup_epochs"] * n_batches), self.config["rate_decay"]
        if warmup or decay != "constant":
            at = schedule.factor(stage.epochs * n_batches, warmup, decay)
            done = self.model.stage_epoch * n_batches
            schedule.follow(self.optimizer, list(stage.rates.values()), at, done)

    def _epoch_ends(self) -> None:
        """Report the epoch, and keep what a killed run needs to go on from here."""
        super()._epoch_ends()
        others: list[Any] = []
        if self.together:
            _, *others = collective.gathered(resume.random_state(self.train_data))
        if self.folder:
            resume.save(self, self.folder, others)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> Any:
        """Validate, and keep a copy of the weights where they are the stage's best."""
        with self._averaged():
            score, result = super()._valid_epoch(valid_data, show_progress)
            if not self._worse(score, self.best_valid_score):
                self._best_state = self._snapshot()
                self._best_epoch = self.model.stage_epoch
        return score, result

    def _averaged(self) -> AbstractContextManager[None]:
        """Let the model have its averaged weights for a while, where they are averaged."""
        return self._average.in_use() if self._average else nullcontext()

    def _fall_back(self) -> None:
        """After a step failed, use the stage's best weights or those it began with."""
        self.optimizer.zero_grad()
        if not self._best_state:
            self._best_state = self._received
            self.best_valid_score, self.best_valid_result = self._handed_on, self._metrics

    def _end(self, stage: Stage) -> None:
        """Measure what a stage has learned, hand its weights on and report it."""
        if self._best_state:
            self.model.load_state_dict(self._best_state)
        elif self._average:
            self._average.swap()  # the best state is an average already
        self._average = None
        measured: dict[str, Any] = {}
        hit, kept = None, 0
        if self.valid_data:
            part = self.valid_data._dataset
            if collective.is_first():  # the others wait
                measured = probe.measure(
                    self.model, part, self.config, self._received, "retriever" in stage.rates
                )
                self.monitor.stage_measured(measured)
            kept = self._hand_on(stage, self._received, self.valid_data)
            if collective.is_first():
                hit = probe.sampled_hit10(self.model, part, self.config)
        self._report(stage, hit, kept)
        if self.folder:
            resume.save_weights(self, self.model.stage_index + 1)
        self.monitor.stage_ends({**self.results[-1]._asdict(), **measured}, hit)

    def _hand_on(self, stage: Stage, received: dict[str, Tensor], valid_data: Any) -> int:
        """Load the stage's best weights, or what it received where that validates better.

        Returns the epoch whose weights stay, 0 where all are those received.
        """
        best = self._best_epoch
        if self._best_state:
            self.model.load_state_dict(self._best_state)
        else:
            self.best_valid_score, self.best_valid_result = super()._valid_epoch(valid_data)
        if not self._worse(self.best_valid_score, self._handed_on):
            self._handed_on, self._metrics = self.best_valid_score, self.best_valid_result
            return best
        self._best_epoch = 0
        self.best_valid_score, self.best_valid_result = self._handed_on, self._metrics
        frozen = "encoder" not in stage.rates and int(received["score"]) == 0
        if frozen:
            # The sequence score has not changed: predict by it, and keep what the stage learned.
            self.model.score.copy_(received["score"])
            return best
        self.model.load_state_dict(received)
        return 0

    def _report(self, stage: Stage, sampled_hit10: float | None, kept_epoch: int) -> None:
        """Log one line for a stage that has ended."""
        metrics = {key: float(value) for key, value in (self.best_valid_result or {}).items()}
        epochs, best, seconds = self.model.stage_epoch, self._best_epoch, self._spent
        score = float(self._handed_on)
        result = StageResult(
            stage.name, epochs, best, seconds, score, metrics, sampled_hit10, kept_epoch
        )
        self.results.append(result)
        shown = ("hit@5", "hit@10", "hit@20", "ndcg@10")
        values = "  ".join(f"{key} {metrics[key]:.4f}" for key in shown if key in metrics)
        kept = f"best epoch {best} of {epochs}"
        if not self.valid_data:
            values, kept = "no validation", f"the last of {epochs} epochs"
            if self._best_state:  # of `_fall_back`
                kept = "weights stay as they were"
        elif not best:
            kept = f"no better in {epochs} epochs: predictions stay as they were"
        self.logger.info(f"stage {stage.name}: {values}  {seconds:.0f} s  {kept}")

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Save as RecBole does, atomically, and never over what an earlier stage did better."""
        if self._worse(self.best_valid_score, self._handed_on):
            return
        if not collective.is_first():
            return
        target = kwargs.pop("saved_model_file", self.saved_model_file)
        with (
            self._averaged(), self.as_one_process(),
            atomic_write(target, make_folder=False) as file,
        ):  # fmt: skip
            super()._save_checkpoint(epoch, verbose=False, saved_model_file=file, **kwargs)
        if verbose:
            self.logger.info(f"Saving current: {target}")

    def _snapshot(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self.model.state_dict().items()}

    def _worst(self) -> float:
        return -float("inf") if self.valid_metric_bigger else float("inf")

    def _worse(self, score: float, other: float) -> bool:
        return score < other if self.valid_metric_bigger else score > other
