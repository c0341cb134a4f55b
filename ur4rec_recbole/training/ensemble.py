"""UR4RecEnsembleTrainer: chooses the weights of an ensemble on validation data."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from recbole.trainer import Trainer
from scipy import optimize
from torch import Tensor
from torch.nn import functional

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.training.targets import of_targets

# Scores of validation rows, 1 GiB and some copies of them; more would hardly choose otherwise.
HELD = 2**28
LARGEST = 100.0  # of a weight: where targets can be told apart perfectly there is no optimum


class UR4RecEnsembleTrainer(Trainer):
    """One convex problem in place of epochs; all else is RecBole's."""

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
        names = [member.__class__.__name__ for member in self.model.members]
        weights = weigh(scores, targets, names)
        self.model.weights.copy_(weights)
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data)
        shares = ", ".join(f"{n} {w:.2f}" for n, w in zip(names, weights.tolist(), strict=True))
        self.logger.info(f"ensemble: {shares}; {self.valid_metric} {self.best_valid_score:.4f}")
        if saved:
            self._save_checkpoint(0, verbose=verbose)
        if callback_fn:
            callback_fn(0, self.best_valid_score)
        return self.best_valid_score, self.best_valid_result

    @torch.no_grad()
    def _collect(self, valid_data: Any) -> tuple[Tensor, Tensor]:
        """Return the members' scores [M, R, N] and the targets [R] of validation rows.

        Of all, or of every n-th batch where those would be too many scores.
        """
        n_scores = len(valid_data._dataset) * self.model.n_items * len(self.model.members)
        scores, targets = [], []
        for batch, *_ in itertools.islice(valid_data, 0, None, 1 + n_scores // HELD):
            interaction = of_targets(batch, valid_data)
            scores.append(self.model.member_scores(interaction.to(self.device)).cpu())
            targets.append(interaction[self.config["ITEM_ID_FIELD"]].cpu())
        return torch.cat(scores, dim=1), torch.cat(targets)


def weigh(scores: Tensor, targets: Tensor, kinds: Sequence[str]) -> Tensor:
    """Find the non-negative weights whose fused scores make the targets likeliest.

    min_w -sum_r log softmax(sum_m w_m z_m,r)[target_r], w >= 0, members of one kind sharing a
    weight: convex, with as many unknowns as kinds, so that little can be fitted to chance.
    (Selecting members greedily by NDCG@10, Caruana et al. 2004, gained more on the rows that it was
    given and less on others: see docs/log.md.)

    Parameters
    ----------
    scores
        [M, R, N] standardised scores; an item that a member excludes (-inf) is no candidate.
    targets
        [R]; rows whose target is no candidate are left out.
    kinds
        [M] names of the members' classes.

    Returns
    -------
    weights
        [M], summing to 1; equal ones if no member knows anything.
    """
    allowed = torch.isfinite(scores).all(0)
    allowed[:, 0] = False
    rows = allowed.gather(1, targets.unsqueeze(1)).squeeze(1)
    scores, targets, allowed = scores[:, rows], targets[rows], allowed[rows]
    scores = torch.where(allowed, scores, 0.0)
    shared = np.unique(kinds, return_inverse=True)[1]
    count = shared.max() + 1
    scores = torch.stack([scores[shared == group].mean(0) for group in range(count)])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(values, dtype=scores.dtype, requires_grad=True)
        fused = torch.einsum("m,mrn->rn", weights, scores).masked_fill(~allowed, -torch.inf)
        value = functional.cross_entropy(fused, targets)
        (slope,) = torch.autograd.grad(value, weights)
        return value.item(), slope.double().numpy()

    found = optimize.minimize(
        loss, np.full(count, 1 / count), jac=True, bounds=[(0, LARGEST)] * count
    )
    weights = found.x[shared] / np.bincount(shared)[shared]
    if not weights.any():
        weights = np.ones(len(shared))
    return torch.tensor(weights / weights.sum(), dtype=torch.float32)
