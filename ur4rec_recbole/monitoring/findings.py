"""Finding: something that the monitor saw go wrong, with its evidence and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a training.

    Attributes
    ----------
    name
        Of the rule, such as `learning_rate_too_high`; docs/monitoring.md has a section for each.
    evidence
        What was measured, in numbers.
    cause
        What most likely lies behind it.
    advice
        What to do.
    stage, epoch
        Where it was seen; epochs are counted over all stages, from 1. 0 is before the first.
    """

    name: str
    evidence: str
    cause: str
    advice: str
    stage: str = ""
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}. {self.cause} {self.advice}"


class NotFinite(ArithmeticError):
    """Raised inside a step whose loss or gradient is NaN or infinite, before weights change."""
