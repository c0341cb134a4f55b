"""Rules over the measurements at the end of a stage (see probe.py)."""

import math
from typing import Any

from ur4rec_recbole.monitoring.findings import Finding

UNHEARD = 0.02  # mean router weight
UNMOVED = 0.01  # mean |log rank ratio| when a modality's table is shuffled
DEAD = 0.1  # share of a sub-expert, as part of its fair share 1/E
DOMINATING = 0.95  # share of one sub-expert
SETTLED = 2  # epochs: after a single one routes and results say little


def stage_findings(measured: dict[str, Any], trains: tuple[str, ...], epochs: int) -> list[Finding]:
    """Return the findings of a stage that trained `trains` for `epochs` epochs."""
    found: list[Finding] = []
    if "retriever" in trains and epochs >= SETTLED:
        found += [*expert_findings(measured), *modality_findings(measured)]
    if "fusion" in trains:
        found += fusion_findings(measured)
    return found


def expert_findings(measured: dict[str, Any]) -> list[Finding]:
    """Find dead and dominating sub-experts."""
    found = []
    shares = measured.get("routes", {}).get("sub", {})
    idle = set(measured.get("idle_experts", ()))
    for name, each in shares.items():
        for index, share in enumerate(each):
            fair = 1 / len(each)
            frozen = f"{name}/{index}" in idle
            if frozen or (len(each) > 1 and share < DEAD * fair):
                found.append(_dead(name, index, share, fair, frozen))
            elif len(each) > 1 and share > DOMINATING:
                found.append(_dominating(name, index, share))
    return found


def _dead(name: str, index: int, share: float, fair: float, frozen: bool) -> Finding:
    still = "; none of its weights has changed during the stage" if frozen else ""
    return Finding(
        "dead_expert",
        f"sub-expert {index} of {name} has {share:.1%} of the weight where {fair:.0%} is fair"
        + still,
        "It gets no gradient." if frozen else "The sub-router has settled on other experts.",
        "Check requires_grad and the optimizer's groups."
        if frozen
        else "Raise load_balance_weight or router_noise, or lower n_sub_experts.",
    )


def _dominating(name: str, index: int, share: float) -> Finding:
    return Finding(
        "dominating_expert",
        f"sub-expert {index} of {name} has {share:.1%} of the weight",
        "The sub-router has collapsed: the other experts no longer learn.",
        "Raise load_balance_weight, router_noise or router_temperature.",
    )


def modality_findings(measured: dict[str, Any]) -> list[Finding]:
    """Find modalities that have a table but do not affect the predictions."""
    found = []
    heard = measured.get("routes", {}).get("modal", {})
    for name, use in measured.get("modalities", {}).items():
        weight = heard.get(name, 0.0)
        if weight >= UNHEARD and use["movement"] >= UNMOVED:
            continue
        found.append(
            Finding(
                "modality_unused",
                f"the router gives {name} {weight:.1%}; with its table shuffled HR@10 goes from "
                f"{use['hit']:.4f} to {use['hit_shuffled']:.4f} and ranks move by "
                f"{use['movement']:.1%}",
                "The model predicts without this modality.",
                f"Check the table with `ur4rec inspect`; if it is sound, leave it out, or raise "
                f"load_balance_weight so that the router keeps listening to {name}.",
            )
        )
    return found


def fusion_findings(measured: dict[str, Any]) -> list[Finding]:
    """Find a fused score that ranks worse than a score that it fuses, beyond one standard error."""
    hits = measured.get("scores")
    if not hits:
        return []
    best = max(("sequence", "retrieval"), key=lambda kind: hits[kind])
    error = math.sqrt(hits[best] * (1 - hits[best]) / measured["rows"])
    if hits["fused"] >= hits[best] - error:
        return []
    return [
        Finding(
            "fusion_worse_than_part",
            f"HR@10 of the fused score is {hits['fused']:.4f}, of the {best} score alone "
            f"{hits[best]:.4f} (standard error {error:.4f})",
            "The fusion weighs the scores badly, or the weaker one is noise.",
            "Change fusion or fusion_weights, train longer in joint_finetune, or end with a stage "
            f"whose score is {best}.",
        )
    ]


def milestone_finding(stage: str, reached: float, milestone: float) -> Finding | None:
    """Find a stage that ends below its milestone."""
    if reached >= milestone:
        return None
    return Finding(
        "below_milestone",
        f"HR@10 against 99 unseen items is {reached:.4f} after {stage}; its milestone is "
        f"{milestone:.2f}",
        "What this stage trains has learned less than it should.",
        "Look at this stage's losses and the findings before this one; later stages seldom repair "
        "it. Milestones are set by the key `milestones`.",
    )
