"""Objective: the next-item loss of a score, over all items or over drawn negatives."""

from typing import Any

import torch
from recbole.sampler import RepeatableSampler
from torch import Tensor, nn

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions
from ur4rec_recbole.model import losses, negatives


class Objective(nn.Module):
    """Compares each target with all items (softmax) or with K drawn ones (the other losses).

    Parameters
    ----------
    config
        `sequence_loss`, `retrieval_loss` and `fused_loss` name the loss of each score;
        `num_negatives`, `negative_distribution`, `logq_correction`, `gbce_calibration`,
        `hard_negative_share` and `hard_negative_warmup` say how negatives are drawn and weighed.
    sampler
        RecBole's, over the training interactions.
    item_counts
        [N] training interactions of each item.
    """

    log_q: Tensor

    def __init__(self, config: Any, sampler: RepeatableSampler, item_counts: Tensor) -> None:
        super().__init__()
        self.names = {kind: config[f"{kind}_loss"] for kind in ("sequence", "retrieval", "fused")}
        _check(set(self.names.values()), config)
        self.distribution = config["negative_distribution"]
        self.config = config
        self.sampler = sampler
        log_q = negatives.log_probability(self.distribution, item_counts)
        self.register_buffer("log_q", log_q, persistent=False)

    def forward(
        self, kind: str, scores: Tensor, targets: Tensor, excluded: Tensor | None, epoch: int
    ) -> Tensor:
        """Return the mean loss over P positions.

        Parameters
        ----------
        kind
            Which score it is: sequence, retrieval or fused.
        scores
            [P, N].
        targets
            [P].
        excluded
            [P, N] or [1, N] bool, items that are no negatives at a position, or None.
        epoch
            Of the stage, from 1: hard negatives join after their warm-up.
        """
        name, count = self.names[kind], self.config["num_negatives"]
        if name == "softmax" or not count:
            return losses.next_item(scores, targets, excluded)
        warm = epoch > self.config["hard_negative_warmup"]
        share = self.config["hard_negative_share"] if warm else 0.0
        shared = negatives.draw(self.sampler, self.distribution, count, targets)
        draws = len(targets) if self.distribution == "in_batch" else count
        log_count = negatives.log_expected_count(self.distribution, self.log_q, draws)
        drawn = negatives.add_hard_negatives(shared, log_count, scores, targets, excluded, share)
        positive = scores.gather(1, targets.unsqueeze(1)).squeeze(1)  # [P]
        negative = scores.gather(1, drawn.items)  # [P, K]
        if name == "bpr":
            return losses.bpr(positive, negative, drawn.false)
        if name == "gbce":
            rate = drawn.items.shape[1] / (scores.shape[1] - 2)  # of all items but the target
            calibration = self.config["gbce_calibration"]
            return losses.gbce(positive, negative, drawn.false, min(rate, 1.0), calibration)
        if self.config["logq_correction"]:
            positive = positive - drawn.target_log_count
            negative = negative - drawn.log_count
        return losses.info_nce(positive, negative, drawn.false)


def _check(used: set[str], config: Any) -> None:
    """Refuse settings that the losses in use would silently ignore."""
    drawing = used & {"gbce", "bpr"}
    if drawing and not config["num_negatives"]:
        raise InputError(
            "num_negatives", f"must be at least 1 with {' and '.join(sorted(drawing))}", 0,
            "Set it, or name the loss softmax, which compares with all items.",
        )  # fmt: skip
    if config["logq_correction"] and "sampled_softmax" not in used:
        raise InputError(
            "logq_correction", "is for sampled_softmax", f"losses {sorted(used)}",
            "Turn it off, or let a score have that loss.",
        )  # fmt: skip


def item_counts(dataset: Any) -> Tensor:
    """Count each item's training interactions, [N]."""
    items = training_interactions(dataset)[dataset.iid_field]
    return torch.bincount(items, minlength=dataset.item_num)
