"""Monitor: watches a training at every step, epoch and stage, and reports what is wrong.

UR4RecTrainer feeds it; data_rules.py, epoch_rules.py, stage_rules.py, slow_steps.py and
table_checks.py hold the rules; observers are told everything (see observers.py).
docs/monitoring.md explains every finding.
"""

import math
import statistics
from dataclasses import replace
from logging import Logger
from typing import Any

from torch import Tensor

from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.model.stages import Stage
from ur4rec_recbole.monitoring import probe
from ur4rec_recbole.monitoring.data_rules import data_findings
from ur4rec_recbole.monitoring.epoch_rules import RULES, StageHistory
from ur4rec_recbole.monitoring.findings import Finding, NotFinite
from ur4rec_recbole.monitoring.observers import Observer
from ur4rec_recbole.monitoring.slow_steps import SlowSteps
from ur4rec_recbole.monitoring.stage_rules import SETTLED, milestone_finding, stage_findings
from ur4rec_recbole.monitoring.table_checks import low_result


class Monitor:
    """Collects what happens in a training and applies the rules.

    Parameters
    ----------
    config
        `slow_step_factor`, `milestones`, `lowest_hit` and `hard_negative_*` are read.
    model
        Searched for denormal numbers where steps are slow.
    logger
        Findings are logged as warnings.

    Attributes
    ----------
    observers
        Notified of every event.
    findings
        All so far; a stage reports each rule once.
    """

    def __init__(self, config: Any, model: Any, logger: Logger) -> None:
        self.config = config
        self.model = model
        self.logger = logger
        self.observers: list[Observer] = []
        self.findings: list[Finding] = []
        self.seen = StageHistory("", {}, fresh=False)
        self.epoch = 0  # counted over all stages, from 1; 0 before the first
        self._new_stage()

    def training_begins(self, valid: UR4RecDataset) -> None:
        """Apply the rules on the data."""
        for finding in data_findings(self.config, valid):
            self.add(finding)

    def begin(self, stages: list[Stage], index: int, steps: int) -> None:
        """Begin a stage of `steps` steps an epoch, or go on with it."""
        stage, config = stages[index], self.config
        trained = {part for earlier in stages[:index] for part in earlier.rates}
        hard = config["hard_negative_share"] > 0
        self.seen = StageHistory(
            name=stage.name,
            rates=dict(stage.rates),
            fresh=not set(stage.rates) <= trained | {"fusion"},
            metric=config["valid_metric"],
            bigger=bool(config["valid_metric_bigger"]),
            warmup=config["hard_negative_warmup"] if hard else 0,
        )
        self._new_stage()
        self._tell("stage_begins", stage.name, stage.epochs, steps, self.model.stage_epoch)

    def _new_stage(self) -> None:
        self.reported: set[tuple[str, str]] = set()
        self.slow = SlowSteps(self.config["slow_step_factor"])
        self.parts: dict[str, float] = {}
        self.norms: list[float] = []

    def epoch_begins(self, epoch: int) -> None:
        """Begin an epoch, counted over all stages from 0, as RecBole does."""
        self.epoch = epoch + 1
        self.norms = []
        self.slow.new_epoch()

    def step(self, loss: float, parts: dict[str, Tensor]) -> None:
        """Take note of a step's loss before its gradient is taken; `NotFinite` stops the stage."""

        def losses() -> dict[str, float]:
            return {name: part.item() for name, part in parts.items()}

        if not math.isfinite(loss):
            self._stop("the loss is " + ", ".join(f"{n} {v:g}" for n, v in losses().items()))
        if not self.seen.rows:
            self.seen.first_losses.append(loss)
        finding = self.slow.step(self.model)
        if finding:
            self.add(finding)
        self._tell("step", losses, self.slow.seconds[-1] if self.slow.seconds else 0.0)

    def gradient(self, norm: float) -> None:
        """Take note of a step's gradient before weights change; `NotFinite` stops the stage."""
        self.norms.append(norm)
        if not math.isfinite(norm):
            self._stop(f"the norm of the gradient is {norm:g}")

    def _stop(self, what: str) -> None:
        rates = ", ".join(f"{part} {rate:g}" for part, rate in self.seen.rates.items())
        self.add(
            Finding(
                "not_finite",
                f"{what} in epoch {len(self.seen.rows) + 1} of {self.seen.name}",
                f"Numbers overflow: learning rates ({rates}) too high, a division by zero, or "
                "values in a feature table that are far too large.",
                "The stage is stopped and the last good weights are kept. Lower the rates, set "
                "clip_grad_norm, and look at the tables with `ur4rec inspect`.",
            )
        )
        raise NotFinite(what)

    def epoch_ends(self, row: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Record an epoch: its numbers, and the routes of its validation rows."""
        if self.norms:
            row["gradient_norm"] = statistics.median(self.norms)
        self.seen.rows.append(row)
        self._tell("epoch_ends", row)
        if weights:
            means = probe.mean_routes(weights)
            routes = {"epoch": row["epoch"], "stage": row["stage"], **means}
            self._tell("routed", routes, weights)
        for rule in RULES:
            finding = rule(self.seen)
            if finding:
                self.add(finding)

    def stage_measured(self, measured: dict[str, Any]) -> None:
        """Apply the rules on the measurements of a stage's best weights."""
        for what, why in measured.get("left_out", {}).items():
            self._leave_out(what, why)
        for finding in stage_findings(measured, tuple(self.seen.rates), self.seen.best_epoch):
            self.add(finding, subject=finding.evidence)

    def _leave_out(self, what: str, why: str) -> None:
        finding = Finding(
            "left_out", f"{what}: {why}", "This measurement failed.",
            "The training and its result do not depend on it.",
        )  # fmt: skip
        self.add(finding, subject=what)

    def stage_ends(self, summary: dict[str, Any], sampled_hit10: float | None) -> None:
        """Record the result of a stage and compare it with its milestone."""
        milestones = (self.config["milestones"] or {}).get(self.config["dataset"], {})
        milestone = milestones.get(self.seen.name)
        if milestone is not None and sampled_hit10 is not None and self._is_settled():
            finding = milestone_finding(self.seen.name, sampled_hit10, milestone)
            if finding:
                self.add(finding)
        self._tell(
            "stage_ends", {**summary, "sampled_hit10": sampled_hit10, "milestone": milestone}
        )

    def _is_settled(self) -> bool:
        """Tell whether the stage has trained for long enough that its result means something."""
        return len(self.seen.rows) >= SETTLED

    def training_ends(
        self, sampled_hit10: float | None, train: UR4RecDataset, valid: UR4RecDataset | None
    ) -> None:
        """Check the result as a whole; after a single epoch by the user's own measure alone."""
        if sampled_hit10 is None or valid is None:
            return
        if self.config["lowest_hit"] is None and not self._is_settled():
            return
        left_out: dict[str, str] = {}
        with probe.optional("check of the item tables", left_out):
            finding = low_result(sampled_hit10, self.config, train, valid)
            if finding:
                self.add(finding)
        for what, why in left_out.items():
            self._leave_out(what, why)

    def close(self) -> None:
        """Tell the observers that training is over, whether it ended well or not."""
        self._tell("close")

    def add(self, finding: Finding, subject: str = "") -> None:
        """Report a finding, once a stage and subject."""
        if (finding.name, subject) in self.reported:
            return
        self.reported.add((finding.name, subject))
        placed = replace(finding, stage=self.seen.name, epoch=self.epoch)
        self.findings.append(placed)
        self.logger.warning(f"finding {placed}")
        self._tell("found", placed)

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to know, in plain types."""
        return {
            "rows": self.seen.rows,
            "first_losses": self.seen.first_losses,
            "reported": sorted(map(list, self.reported)),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, in the stage that has been begun."""
        self.seen.rows = state["rows"]
        self.seen.first_losses = state["first_losses"]
        self.reported = {(name, subject) for name, subject in state["reported"]}

    def _tell(self, event: str, *arguments: Any) -> None:
        for observer in self.observers:
            getattr(observer, event)(*arguments)
