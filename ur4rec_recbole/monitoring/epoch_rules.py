"""Rules over the epochs of one stage: each takes its history and returns a finding or None.

Monitor calls all of them at the end of every epoch. They are pure functions of numbers. Rules that
need a measurement of their own, at the end of a stage, are in stage_rules.py.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ur4rec_recbole.monitoring.findings import Finding

FIRST_EPOCHS = 3
FLAT = 0.01  # of HR@10, where measured, and of the validation score, relative: less is no movement
NOT_FALLING = 0.001  # of the loss, relative
RISING = 0.1  # of the loss over its least, relative
BURST = 0.2  # rise of the loss within the first epoch, relative
OVERFIT_VALID = 0.1  # fall of the validation score since its best, relative
OVERFIT_LOSS = 0.02  # fall of the loss meanwhile, relative
OVERFIT_EPOCHS = 3
# Why a part overfits, and what helps. A new one that was best after its first epoch had learned
# next to nothing by then.
BY_HEART = (
    "The model learns the training interactions by heart.",
    "Raise the dropout probabilities, lower the model's size or the stage's epochs; the best "
    "weights are kept in any case.",
)
THROWN_OFF = (
    "Best after its first epoch: the full rate threw the new part off, or the data are few.",
    "Set warmup_epochs: 1 or a lower learning rate.",
)


@dataclass
class StageHistory:
    """What the rules see of a stage.

    Attributes
    ----------
    name
        Of the stage.
    rates
        Learning rate by component.
    fresh
        Whether it trains a component that no earlier stage trained. Where it does not, a loss or
        validation score that barely moves is what fine-tuning looks like.
    metric
        What the validation score is.
    bigger
        Whether a bigger validation score is better.
    warmup
        Epochs after which hard negatives change the loss; 0 without them.
    rows
        One an epoch: `loss` (mean of a step), and where it was validated `valid_score` and metrics.
    first_losses
        Loss of each step of the first epoch.
    """

    name: str
    rates: dict[str, float]
    fresh: bool
    metric: str = ""
    bigger: bool = True
    warmup: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)

    @property
    def comparable(self) -> list[dict[str, Any]]:
        """The epochs whose losses mean the same thing."""
        return self.rows[self.warmup :]

    @property
    def validated(self) -> list[dict[str, Any]]:
        """The epochs that were validated."""
        return [row for row in self.rows if "valid_score" in row]

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch with the best validation score, if any was validated."""
        sign = 1 if self.bigger else -1
        return max(self.validated, key=lambda row: sign * row["valid_score"], default=None)

    @property
    def best_epoch(self) -> int:
        """How many epochs of the stage the best weights were trained for."""
        return self.best["stage_epoch"] if self.best else len(self.rows)


def learning_rate_too_high(seen: StageHistory) -> Finding | None:
    """Within the first epoch the loss rose far above where it began."""
    losses = seen.first_losses
    if len(seen.rows) != 1 or len(losses) < 2:
        return None
    begin = statistics.median(losses[: min(3, len(losses) // 2)])
    end = statistics.median(losses[-max(1, len(losses) // 4) :])
    if end <= begin * (1 + BURST):
        return None
    return Finding(
        "learning_rate_too_high",
        f"the loss went from {begin:.4g} to {end:.4g} within the first {len(losses)} steps",
        f"The learning rates ({_rates(seen)}) are too high for this model and batch size.",
        "Stop the run and divide learning_rate and retriever_learning_rate by 10.",
    )


def loss_not_falling(seen: StageHistory) -> Finding | None:
    """No epoch after the first of a newly trained component has a lower loss."""
    rows = seen.comparable
    if not seen.fresh or len(rows) != FIRST_EPOCHS:
        return None
    losses = [row["loss"] for row in rows]
    if min(losses[1:]) < losses[0] * (1 - NOT_FALLING):
        return None
    return Finding(
        "loss_not_falling",
        "the losses of the first epochs are " + _numbers(losses),
        f"Nothing is being learned at {_rates(seen)}: a rate far too low or too high, or inputs "
        "without a signal.",
        "Try a rate 10 times higher, then lower; then check the data with `ur4rec doctor`.",
    )


def loss_rising(seen: StageHistory) -> Finding | None:
    """Two epochs in a row lie well above the least loss of the stage."""
    losses = [row["loss"] for row in seen.comparable]
    if len(losses) < 3:
        return None
    least = min(losses)
    if min(losses[-2:]) <= least + RISING * abs(least):
        return None
    return Finding(
        "loss_rising",
        f"the last losses are {_numbers(losses[-2:])}, after {least:.4g}",
        f"The optimisation diverges at {_rates(seen)}.",
        "Lower the stage's learning rates, or set clip_grad_norm.",
    )


def flat_validation(seen: StageHistory) -> Finding | None:
    """HR@10 and validation score of a newly trained component do not move in its first epochs."""
    rows = seen.validated
    scores = [row["valid_score"] for row in rows]
    hits = [row["hit@10"] for row in rows if "hit@10" in row] or scores
    if not seen.fresh or len(rows) != FIRST_EPOCHS:
        return None
    if any(max(values) - min(values) > FLAT * max(map(abs, values)) for values in (hits, scores)):
        return None
    name = "HR@10" if hits is not scores else seen.metric
    return Finding(
        "flat_validation",
        f"{name} of the first {FIRST_EPOCHS} epochs is " + _numbers(hits),
        "The model's ranking does not change: learning rate far too low, a part that is frozen or "
        "not connected to the score, or targets that nothing predicts.",
        "Look at the loss: if it falls, check that train and validation come from the same data; "
        "if not, raise the learning rate.",
    )


def overfitting(seen: StageHistory) -> Finding | None:
    """While the training loss falls, the validation score has been falling for epochs."""
    rows, best = seen.validated, seen.best
    if best is None or len(rows) - 1 - rows.index(best) < OVERFIT_EPOCHS:
        return None
    sign = 1 if seen.bigger else -1
    top, recent = best["valid_score"], [row["valid_score"] for row in rows[-2:]]
    lost = sign * (top - statistics.mean(recent)) / max(abs(top), 1e-12)
    fell = best["loss"] - rows[-1]["loss"]
    if lost < OVERFIT_VALID or fell < OVERFIT_LOSS * abs(best["loss"]):
        return None
    why, remedy = THROWN_OFF if seen.fresh and best is rows[0] else BY_HEART
    return Finding(
        "overfitting",
        f"since epoch {best['stage_epoch']} of the stage the loss went from "
        f"{best['loss']:.4g} to {rows[-1]['loss']:.4g} and the validation score from "
        f"{top:.4f} to {recent[-1]:.4f}",
        why,
        remedy,
    )


RULES: tuple[Callable[[StageHistory], Finding | None], ...] = (
    learning_rate_too_high,
    loss_not_falling,
    loss_rising,
    flat_validation,
    overfitting,
)


def _rates(seen: StageHistory) -> str:
    return ", ".join(f"{part} {rate:g}" for part, rate in seen.rates.items())


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
