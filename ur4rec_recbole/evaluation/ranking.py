"""Ranks of targets: every row's items are scored once, whatever the number of protocols.

| protocol      | candidates                                                            |
|---------------|-----------------------------------------------------------------------|
| full          | all items, known ones included (RecBole's for sequential models)      |
| full_masked   | all items but those that the user has had                             |
| uniform_99    | the target and 99 items the user has never had, uniform, drawn once   |
| popularity_99 | the same, drawn in proportion to training popularity                  |

A candidate that scores as high as the target ranks before it: a model that scores everything alike
gets nothing. All candidates rank before a target at NaN or -inf, such as one that the model itself
excludes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from ur4rec_recbole.core.memory import SCORES_HELD
from ur4rec_recbole.data.dataset import HISTORY_END, HISTORY_START, UR4RecDataset
from ur4rec_recbole.data.rows import spans
from ur4rec_recbole.evaluation.candidates import candidates_of

PAIRS_HELD = 2**16  # of a row, for models that score pairs alone


class Ranked(NamedTuple):
    """The ranks of the targets of R rows under one protocol.

    Attributes
    ----------
    ranks
        [R], 1 is best.
    candidates
        [R] how many were ranked, the target included.
    lists
        [R, K] the best candidates, best first, 0 where there are fewer; None under sampled
        protocols, whose candidates are not recommendations.
    """

    ranks: np.ndarray
    candidates: np.ndarray
    lists: np.ndarray | None = None


@torch.no_grad()
def rank_targets(
    model: Any,
    part: UR4RecDataset,
    device: Any,
    batch_size: int = 256,
    seed: int = 2020,
    listed: int = 0,
) -> dict[str, Ranked]:
    """Rank the target of every row under every protocol that the data allow.

    Parameters
    ----------
    model
        Any RecBole model that scores all items.
    part
        Validation or test rows, one target each.
    device
        Where the model is.
    batch_size
        Rows scored at a time, at most.
    seed
        Seed of the sampled candidates.
    listed
        K, the items to list a row; 0 for no lists.
    """
    model.eval()
    drawn = candidates_of(part, seed)
    found: dict[str, list[Ranked]] = {name: [] for name in ("full", "full_masked", *drawn)}
    for rows, interaction, scores in scored(model, part, batch_size, device):
        targets = interaction[part.iid_field].to(scores.device)
        history = _history(part, interaction)
        among = {name: torch.from_numpy(items[rows]) for name, items in drawn.items()}
        for name, ranked in _rank_batch(scores, targets, history, among, listed).items():
            found[name].append(ranked)
    return {name: _joined(each) for name, each in found.items()}


def _rank_batch(
    scores: Tensor, targets: Tensor, history: Tensor, drawn: dict[str, Tensor], listed: int
) -> dict[str, Ranked]:
    """Rank targets [B] by scores [B, N], which are overwritten.

    `history` are pairs (row, item) of known items, [2, H]; `drawn` are each protocol's candidates
    [B, C].
    """
    n_items = scores.shape[1] - 1
    scores.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    scores[:, 0] = -torch.inf
    target = scores.gather(1, targets.unsqueeze(1))  # [B, 1]
    ahead = (scores >= target).sum(1)  # the target included, and padding where that is at -inf
    ranks = ahead - (target == -torch.inf).squeeze(1).long()
    found = {"full": _ranked(ranks, torch.full_like(ranks, n_items), scores, listed)}

    history = history.to(scores.device)
    row, item = _distinct(history, targets, scores.shape[1])
    before = (scores[row, item] >= target[row, 0]).long()
    masked = ranks.index_add(0, row, -before)
    known = torch.bincount(row, minlength=len(ranks))
    for name, items in drawn.items():
        others = scores.gather(1, items.to(scores.device, torch.int64))
        rank = 1 + (others >= target).sum(1)
        found[name] = _ranked(rank, torch.full_like(rank, 1 + items.shape[1]))
    if listed:
        scores[history[0], history[1]] = -torch.inf
    found["full_masked"] = _ranked(masked, n_items - known, scores, listed)
    return found


def _ranked(
    ranks: Tensor, candidates: Tensor, scores: Tensor | None = None, listed: int = 0
) -> Ranked:
    lists = None
    if scores is not None and listed:
        best, items = scores.topk(min(listed, scores.shape[1]))
        lists = items.masked_fill(best == -torch.inf, 0).cpu().numpy()
    return Ranked(ranks.cpu().numpy(), candidates.cpu().numpy(), lists)


def _distinct(history: Tensor, targets: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Return the distinct pairs (row, item), without those whose item is the row's target."""
    pairs = torch.unique(history[0] * n_items + history[1])
    row, item = pairs // n_items, pairs % n_items
    others = item != targets[row]
    return row[others], item[others]


def _joined(batches: list[Ranked]) -> Ranked:
    ranks, candidates, lists = zip(*batches, strict=True)
    listed = None if lists[0] is None else np.concatenate(lists)
    return Ranked(np.concatenate(ranks), np.concatenate(candidates), listed)


def score_all(model: Any, interaction: Interaction) -> Tensor:
    """Return the model's scores of all items, [B, N] float32, which may be written to."""
    try:
        scores = model.full_sort_predict(interaction)
    except NotImplementedError:
        rows = [_score_row(model, interaction[row : row + 1]) for row in range(len(interaction))]
        scores = torch.stack(rows)
    return scores.view(len(interaction), -1).float().clone()


def _score_row(model: Any, row: Interaction) -> Tensor:
    """Return the scores [N] of one row by a model that scores pairs alone."""
    scores = []
    for items in torch.arange(model.n_items, device=row[model.ITEM_ID].device).split(PAIRS_HELD):
        pairs = row.repeat_interleave(len(items))
        pairs.update(Interaction({model.ITEM_ID: items}))
        scores.append(model.predict(pairs).view(-1))
    return torch.cat(scores)


def items_kept(model: Any) -> AbstractContextManager[None]:
    """Let a model that can keep its items' vectors from batch to batch, while its weights stay."""
    return getattr(model, "items_kept", nullcontext)()


def scored(
    model: Any, part: UR4RecDataset, size: int, device: Any
) -> Iterator[tuple[np.ndarray, Interaction, Tensor]]:
    """Yield `batches` with the scores [B, N] of all their rows, which may be written to."""
    with items_kept(model):
        for rows, interaction in batches(part, size):
            yield rows, interaction, score_all(model, interaction.to(device))


def batches(part: UR4RecDataset, size: int) -> Iterator[tuple[np.ndarray, Interaction]]:
    """Yield row numbers and interactions of a data split, at most `size` rows at a time.

    Fewer where there are so many items that the scores of `size` rows take too much memory.
    """
    size = max(1, min(size, SCORES_HELD // part.item_num))
    for start in range(0, len(part), size):
        rows = np.arange(start, min(start + size, len(part)))
        yield rows, part[rows]


def _history(part: UR4RecDataset, interaction: Interaction) -> Tensor:
    """Return the pairs (row, item) [2, H] of all interactions before each row's target."""
    start, end = interaction[HISTORY_START].cpu(), interaction[HISTORY_END].cpu()
    row, place = spans(start, end - start)
    return torch.stack([row, part.interactions[part.iid_field][place]])


def rank(scores: Tensor, targets: Tensor, candidates: Tensor | None = None) -> np.ndarray:
    """Rank targets [B] among candidates [B, N], or all items; ties count against the target."""
    target = scores.gather(1, targets.unsqueeze(1))
    if candidates is None:
        candidates = torch.ones_like(scores, dtype=torch.bool)
        candidates[:, 0] = False
    others = candidates.scatter(1, targets.unsqueeze(1), False)
    ahead = ((scores >= target) | torch.isnan(target)) & others
    return (1 + ahead.sum(1)).numpy()
