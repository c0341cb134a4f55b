"""UR4RecEnsembleTrainer: chooses the weights of an ensemble on validation data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from recbole.trainer import Trainer
from torch import Tensor

from ur4rec_recbole import evaluation
from ur4rec_recbole.errors import InputError
from ur4rec_recbole.model.ensemble import combine


class UR4RecEnsembleTrainer(Trainer):
    """Greedy selection with replacement in place of gradient steps; all else is RecBole's."""

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Choose weights. Arguments and return value are those of RecBole's `Trainer.fit`."""
        if not valid_data:
            raise InputError(
                "valid_data", "is what the weights of an ensemble are chosen on", valid_data,
                "Use a split with a validation part.",
            )  # fmt: skip
        self.eval_collector.data_collect(train_data)
        self.model.eval()
        scores, targets = self._collect(valid_data)
        weights, path = select(
            scores,
            targets,
            self._quality,
            self.config["selection_rounds"],
            self.valid_metric_bigger,
        )
        self.model.weights.copy_(weights)
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data)
        names = [member.__class__.__name__ for member in self.model.members]
        shares = ", ".join(f"{n} {w:.2f}" for n, w in zip(names, weights.tolist(), strict=True))
        self.logger.info(f"ensemble: {shares}; {self.valid_metric} {path[-1]:.4f}")
        if saved:
            self._save_checkpoint(0, verbose=verbose)
        if callback_fn:
            callback_fn(0, self.best_valid_score)
        return self.best_valid_score, self.best_valid_result

    @torch.no_grad()
    def _collect(self, valid_data: Any) -> tuple[Tensor, Tensor]:
        """Return the members' scores [M, R, N] and the targets [R] of all validation rows."""
        scores, targets = [], []
        for interaction, *_ in valid_data:
            scores.append(self.model.member_scores(interaction.to(self.device)).cpu())
            targets.append(interaction[self.config["ITEM_ID_FIELD"]].cpu())
        return torch.cat(scores, dim=1), torch.cat(targets)

    def _quality(self, rank: np.ndarray) -> float:
        return evaluation.metrics(rank, self.config)[self.valid_metric]


def select(
    scores: Tensor,
    targets: Tensor,
    quality: Callable[[np.ndarray], float],
    rounds: int,
    bigger: bool = True,
) -> tuple[Tensor, list[float]]:
    """Select members greedily, with replacement, and keep the best of the selections on the way.

    An addition that does not help is made all the same: with few members the first ones move the
    weights by a half and a third, too coarsely to help, and later ones by less.

    Parameters
    ----------
    scores
        [M, R, N] standardised scores.
    targets
        [R].
    quality
        Metric of the target ranks [R].
    rounds
        Additions tried.
    bigger
        Whether a bigger metric is better.

    Returns
    -------
    weights
        [M], summing to 1.
    path
        The metric after each addition that was kept; the last is the best.
    """
    sign = 1.0 if bigger else -1.0
    counts = torch.zeros(len(scores))
    path: list[float] = []
    selections = []
    for _ in range(rounds):
        tried = []
        for m in range(len(scores)):
            more = counts.clone()
            more[m] += 1
            ranks = evaluation.rank(combine(scores, more / more.sum()), targets)
            tried.append(quality(ranks))
        best = int(np.argmax(sign * np.array(tried)))
        counts[best] += 1
        path.append(tried[best])
        selections.append(counts / counts.sum())
    kept = int(np.argmax(sign * np.array(path)))  # the first of equals
    return selections[kept], path[: kept + 1]
