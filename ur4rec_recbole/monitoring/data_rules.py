"""Rules over the data, before training: what cannot be measured, targets that cannot be hit."""

from typing import Any

from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation.candidates import N_SAMPLED, SAMPLED, too_few_unseen
from ur4rec_recbole.evaluation.subsets import repeated
from ur4rec_recbole.monitoring.findings import Finding


def data_findings(config: Any, valid: UR4RecDataset) -> list[Finding]:
    """Apply the rules to the validation data."""
    found = [too_few_candidates(valid)]
    if config["exclude_history"]:
        found.append(targets_in_history(valid))
    return [each for each in found if each]


def too_few_candidates(valid: UR4RecDataset) -> Finding | None:
    """Find users that have fewer unseen items than a sampled protocol draws."""
    lacking = too_few_unseen(valid)
    if not lacking:
        return None
    return Finding(
        "left_out",
        f"{' and '.join(SAMPLED)} need {N_SAMPLED} items that a user has not had; there are "
        f"{lacking}",
        "The data set has too few items.",
        "All items are ranked in full and full_masked; the sampled protocols are left out.",
    )


def targets_in_history(valid: UR4RecDataset) -> Finding | None:
    """Find targets that `exclude_history` keeps from ever being recommended."""
    again = repeated(valid)
    if not again.any():
        return None
    return Finding(
        "targets_in_history",
        f"{again.mean():.1%} of the validation targets ({again.sum()} of {len(again)}) are items "
        "that their users had before",
        "With exclude_history: True these can never be recommended.",
        "Set exclude_history: False where users choose again what they know.",
    )
