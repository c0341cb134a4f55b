"""Evaluation under stated protocols: the rank of each target, and RecBole's metrics of the ranks.

| protocol      | candidates                                                            |
|---------------|-----------------------------------------------------------------------|
| full          | all items, known ones included (RecBole's for sequential models)      |
| full_masked   | all items but those that the user has had                             |
| uniform_99    | the target and 99 items the user has never had, uniform, drawn once   |
| popularity_99 | the same, drawn in proportion to training popularity                  |

RecBole's own uni100 draws anew at every evaluation, with replacement, and from the user's history
too; here the draw depends on the seed alone, so that models can be compared. A candidate that
scores as high as the target ranks before it: a model that scores everything alike gets nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from torch import Tensor

from ur4rec_recbole.data.dataset import HISTORY_END, HISTORY_START, UR4RecDataset, spans
from ur4rec_recbole.evaluation import subsets
from ur4rec_recbole.evaluation.candidates import popular_candidates, sampled_candidates

PROTOCOLS = ("full", "full_masked", "uniform_99", "popularity_99")
LIST_LENGTH = 10  # of the recommendations that coverage and Gini are taken of


class Rankings(NamedTuple):
    """Where a model places targets and items.

    Attributes
    ----------
    ranks
        By protocol, [R] in the order of the rows; 1 is best.
    lists
        [R, 10] the items that full_masked recommends, best first; 0 where there are fewer.
    """

    ranks: dict[str, np.ndarray]
    lists: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """All that is known of a model on one part.

    Attributes
    ----------
    users
        [R] user tokens.
    ranks
        By protocol, [R].
    metrics
        By protocol, RecBole's configured metrics and the mean reciprocal rank without a cut-off.
    details
        Under full_masked: "full_masked/lists" with coverage and Gini index of the first ten,
        "full_masked/tail" and so on with hit@10, ndcg@10 and the number of rows of each subset.
    """

    users: np.ndarray
    ranks: dict[str, np.ndarray]
    metrics: dict[str, dict[str, float]]
    details: dict[str, dict[str, float]]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return what a run folder keeps of the part called `name`."""
        return {f"{name}/{key}": values for key, values in self.ranks.items()} | {
            f"{name}/users": self.users
        }


def evaluate(
    model: Any, part: UR4RecDataset, config: Any, seed: int = 2020
) -> dict[str, dict[str, float]]:
    """Return RecBole's metrics by protocol for the validation or test part of a data set."""
    found = ranks(model, part, config["device"], config["eval_batch_size"], seed)
    return {name: metrics(placed, config) for name, placed in found.items()}


def measure(model: Any, part: UR4RecDataset, config: Any, seed: int = 2020) -> Evaluation:
    """Evaluate as `evaluate` does, with users, ranks, subsets and measures of the lists."""
    found = rank_targets(model, part, config["device"], config["eval_batch_size"], seed)
    by_protocol = {
        name: metrics(placed, config) | {"mrr": float(np.mean(1 / placed))}
        for name, placed in found.ranks.items()
    }
    n_items = part.item_num - 1
    details = {
        "full_masked/lists": {
            f"coverage@{LIST_LENGTH}": subsets.coverage(found.lists, n_items),
            f"gini@{LIST_LENGTH}": subsets.gini(found.lists, n_items),
        }
    }
    masked = found.ranks["full_masked"]
    for name, rows in subsets.subsets(part).items():
        details[f"full_masked/{name}"] = {
            "rows": int(rows.sum()),
            "hit@10": float(subsets.per_target(masked[rows], "hit@10").mean()),
            "ndcg@10": float(subsets.per_target(masked[rows], "ndcg@10").mean()),
        }
    users = part.id2token(part.uid_field, part.inter_feat[part.uid_field].numpy())
    return Evaluation(np.asarray(users, dtype=str), found.ranks, by_protocol, details)


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


def ranks(
    model: Any, part: UR4RecDataset, device: Any, batch_size: int = 256, seed: int = 2020
) -> dict[str, np.ndarray]:
    """Rank the target of every row under every protocol; `rank_targets` without the lists."""
    return rank_targets(model, part, device, batch_size, seed).ranks


@torch.no_grad()
def rank_targets(
    model: Any, part: UR4RecDataset, device: Any, batch_size: int = 256, seed: int = 2020
) -> Rankings:
    """Rank the target of every row under every protocol and list the best items.

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
    """
    model.eval()
    found: dict[str, list[np.ndarray]] = {name: [] for name in PROTOCOLS}
    lists = []
    drawn = {
        "uniform_99": torch.from_numpy(sampled_candidates(part, seed)),
        "popularity_99": torch.from_numpy(popular_candidates(part, seed)),
    }
    for rows, interaction in batches(part, batch_size):
        scores = score_all(model, interaction.to(device)).cpu()
        scores[:, 0] = -torch.inf
        targets = interaction[part.iid_field].cpu()
        candidates = torch.ones_like(scores, dtype=torch.bool)
        candidates[:, 0] = False
        found["full"].append(rank(scores, targets, candidates))
        candidates[_history(part, interaction)] = False
        found["full_masked"].append(rank(scores, targets, candidates))
        lists.append(_best(scores, candidates))
        for name, items in drawn.items():
            chosen = torch.zeros_like(candidates).scatter_(1, items[rows], True)
            found[name].append(rank(scores, targets, chosen))
    placed = {name: np.concatenate(parts) for name, parts in found.items()}
    return Rankings(placed, np.concatenate(lists))


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


def _best(scores: Tensor, candidates: Tensor) -> np.ndarray:
    """List the best candidates, [B, 10]; 0 for places that none is left for."""
    usable = candidates & ~torch.isnan(scores) & (scores > -torch.inf)
    kept, items = scores.masked_fill(~usable, -torch.inf).topk(min(LIST_LENGTH, scores.shape[1]))
    return items.masked_fill(kept == -torch.inf, 0).numpy()


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
