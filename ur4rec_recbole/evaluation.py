"""Evaluation under stated protocols: the rank of each target, and RecBole's metrics of the ranks.

| protocol    | candidates                                                              |
|-------------|-------------------------------------------------------------------------|
| full        | all items, those that the user has had included (RecBole's default)     |
| full_masked | all items but those that the user has had                               |
| uniform_99  | the target and 99 items the user has never had, uniform, drawn once     |

RecBole's own uni100 draws anew at every evaluation, with replacement, and from the user's history
too; here the draw depends on the seed alone, so that models can be compared. A candidate that
scores as high as the target ranks before it: a model that scores everything alike gets nothing.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from torch import Tensor

from ur4rec_recbole.data.dataset import HISTORY_END, HISTORY_START, UR4RecDataset, spans
from ur4rec_recbole.errors import InputError

PROTOCOLS = ("full", "full_masked", "uniform_99")
N_SAMPLED = 99


def evaluate(
    model: Any, part: UR4RecDataset, config: Any, seed: int = 2020
) -> dict[str, dict[str, float]]:
    """Return RecBole's metrics by protocol for the validation or test part of a data set."""
    found = ranks(model, part, config["device"], config["eval_batch_size"], seed)
    return {name: metrics(placed, config) for name, placed in found.items()}


def metrics(placed: np.ndarray, config: Any) -> dict[str, float]:
    """Compute the configured metrics of target ranks [R] (1 is best) with RecBole's evaluator."""
    deepest = max(config["topk"])
    hits = torch.zeros(len(placed), deepest + 1, dtype=torch.int)
    hits[:, -1] = 1  # each row has one target
    shown = np.flatnonzero(placed <= deepest)
    hits[shown, placed[shown] - 1] = 1
    struct = DataStruct()
    struct.set("rec.topk", hits)
    return {key: float(value) for key, value in Evaluator(config).evaluate(struct).items()}


@torch.no_grad()
def ranks(
    model: Any, part: UR4RecDataset, device: Any, batch_size: int = 256, seed: int = 2020
) -> dict[str, np.ndarray]:
    """Rank the target of every row under every protocol.

    Parameters
    ----------
    model
        Any RecBole model that scores all items.
    part
        Validation or test rows, one target each.
    device
        Where the model is.
    batch_size
        Rows scored at a time.
    seed
        Of the sampled candidates.

    Returns
    -------
    ranks
        By protocol, [R] in the order of the rows.
    """
    model.eval()
    found: dict[str, list[np.ndarray]] = {name: [] for name in PROTOCOLS}
    sampled = sampled_candidates(part, seed)
    for rows, interaction in batches(part, batch_size):
        scores = score_all(model, interaction.to(device)).cpu()
        scores[:, 0] = -torch.inf
        targets = interaction[part.iid_field]
        row, item = _history(part, interaction)
        candidates = torch.ones_like(scores, dtype=torch.bool)
        candidates[:, 0] = False
        found["full"].append(rank(scores, targets, candidates))
        candidates[row, item] = False
        found["full_masked"].append(rank(scores, targets, candidates))
        drawn = torch.zeros_like(candidates).scatter_(1, torch.from_numpy(sampled[rows]), True)
        found["uniform_99"].append(rank(scores, targets, drawn))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def score_all(model: Any, interaction: Interaction) -> Tensor:
    """Return the model's scores of all items, [B, N] float32."""
    try:
        scores = model.full_sort_predict(interaction)
    except NotImplementedError:
        n_items = model.n_items
        repeated = interaction.repeat_interleave(n_items)
        items = torch.arange(n_items, device=interaction[model.ITEM_ID].device)
        repeated.update(Interaction({model.ITEM_ID: items.repeat(len(interaction))}))
        scores = model.predict(repeated)
    return scores.view(len(interaction), -1).float().clone()


def sampled_candidates(part: UR4RecDataset, seed: int, count: int = N_SAMPLED) -> np.ndarray:
    """Draw [R, count] distinct items that the row's user has had nowhere, by a seed a user.

    The user's whole sequence is left out, later interactions too: a candidate is never something
    that the user goes on to choose.
    """
    users = part.interactions[part.uid_field].numpy()
    items = part.interactions[part.iid_field].numpy()
    starts = part.inter_feat[HISTORY_START].numpy()
    stops = np.searchsorted(users, users[starts], side="right")
    drawn = np.empty((len(starts), count), dtype=np.int64)
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        unseen = np.setdiff1d(np.arange(1, part.item_num), items[start:stop])
        if len(unseen) < count:
            raise InputError(
                "Sampled evaluation",
                f"needs {count} items that a user has not had",
                f"{len(unseen)} for user {part.id2token(part.uid_field, users[start])}",
                "Use full ranking on so small a data set.",
            )
        generator = np.random.default_rng([seed, int(users[start])])
        drawn[row] = generator.choice(unseen, count, replace=False)
    return drawn


def batches(part: UR4RecDataset, size: int) -> Iterator[tuple[np.ndarray, Interaction]]:
    """Yield row numbers and interactions of a part, at most `size` rows at a time."""
    for start in range(0, len(part), size):
        rows = np.arange(start, min(start + size, len(part)))
        yield rows, part[rows]


def _history(part: UR4RecDataset, interaction: Interaction) -> tuple[Tensor, Tensor]:
    """Return index pairs (row, item) of all interactions before each row's target."""
    start = interaction[HISTORY_START]
    row, place = spans(start, interaction[HISTORY_END] - start)
    return row, part.interactions[part.iid_field][place]


def rank(scores: Tensor, targets: Tensor, candidates: Tensor | None = None) -> np.ndarray:
    """Rank targets [B] among candidates [B, N], or all items; ties count against the target."""
    target = scores.gather(1, targets.unsqueeze(1))
    if candidates is None:
        candidates = torch.ones_like(scores, dtype=torch.bool)
        candidates[:, 0] = False
    others = candidates.scatter(1, targets.unsqueeze(1), False)
    # A target at -inf, such as one that the model itself excludes, is behind every candidate.
    ahead = ((scores >= target) | torch.isnan(target)) & others
    return (1 + ahead.sum(1)).numpy()
