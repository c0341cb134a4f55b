"""Objective: the next-item loss of a score, over all items or over drawn negatives."""

from collections.abc import Collection
from typing import Any

import torch
from recbole.sampler import RepeatableSampler
from torch import Tensor, nn

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions
from ur4rec_recbole.model import losses, negatives
from ur4rec_recbole.model.excluded import Excluded
from ur4rec_recbole.model.scores import DotScores, Scores


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

    def needs_all(self, kinds: Collection[str], epoch: int) -> bool:
        """Tell whether the losses of some scores need the scores of all items.

        The fused one is standardised over all of them, and hard negatives are mined among them.
        """
        softmax = any(self._compares_with_all(kind) for kind in kinds)
        return softmax or "fused" in kinds or self._hard_share(epoch) > 0

    def _compares_with_all(self, kind: str) -> bool:
        return self.names[kind] == "softmax" or not self.config["num_negatives"]

    def _hard_share(self, epoch: int) -> float:
        warm = epoch > self.config["hard_negative_warmup"]
        return self.config["hard_negative_share"] if warm else 0.0

    def draw(self, kind: str, targets: Tensor) -> Tensor | None:
        """Draw what the P targets are compared with, [K]; None where that is all items."""
        if self._compares_with_all(kind):
            return None
        return negatives.draw(
            self.sampler, self.distribution, self.config["num_negatives"], targets
        )

    def forward(
        self,
        kind: str,
        scores: Scores,
        targets: Tensor,
        excluded: Excluded,
        drawn: Tensor | None,
        epoch: int,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss over P positions.

        Parameters
        ----------
        kind
            Which score it is: sequence, retrieval or fused.
        scores
            Of the P states. Where negatives are drawn and none of them mined, those of the drawn
            items are all that is computed.
        targets
            [P].
        excluded
            The items that are no negatives.
        drawn
            [K], of `draw`.
        epoch
            Of the stage, from 1: hard negatives join after their warm-up.
        weights
            [P] of the positions, of mean 1; None where all count alike.
        """
        if drawn is None:
            return scores.next_item(targets, excluded, weights)
        share = self._hard_share(epoch)
        draws = self.config["num_negatives"]
        if self.distribution == "in_batch":
            draws = len(targets)
        log_count = negatives.log_expected_count(self.distribution, self.log_q, draws)
        if not share and isinstance(scores, DotScores):
            shared = negatives.shared_by_all(drawn, log_count, targets, excluded.of(drawn))
            positive, negative = scores.of_each(targets), scores.of(drawn)
            return self._sampled(kind, positive, negative, shared, weights)

        def with_all(values: Tensor, at: slice) -> Tensor:
            found = negatives.add_hard_negatives(
                drawn, log_count, values, targets[at], excluded.at(at), share
            )
            positive = values.gather(1, targets[at].unsqueeze(1)).squeeze(1)  # [p]
            own = None if weights is None else weights[at]
            return self._sampled(kind, positive, values.gather(1, found.items), found, own)

        return scores.mean(with_all)

    def _sampled(
        self,
        kind: str,
        positive: Tensor,
        negative: Tensor,
        drawn: negatives.Negatives,
        weights: Tensor | None,
    ) -> Tensor:
        """Return the loss of the targets' scores [P] and the negatives' [P, K]."""
        name = self.names[kind]
        if name == "bpr":
            return losses.bpr(positive, negative, drawn.false, weights)
        if name == "gbce":
            rate = drawn.items.shape[1] / (len(self.log_q) - 2)  # of all items but the target
            how = min(rate, 1.0), self.config["gbce_calibration"]
            return losses.gbce(positive, negative, drawn.false, *how, weights)
        if self.config["logq_correction"]:
            positive = positive - drawn.target_log_count
            negative = negative - drawn.log_count
        return losses.info_nce(positive, negative, drawn.false, weights)


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
