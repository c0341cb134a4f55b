"""Evaluation under stated protocols: RecBole's metrics of the ranks that ranking.py counts.

RecBole's own uni100 draws anew at every evaluation, with replacement, and from the user's history
too; here the draw depends on the seed alone, so that models can be compared.

Not every protocol supports every metric: those of whole lists (coverage, Gini index, popularity,
tail and entropy) belong to full and full_masked, and metrics of single scores (AUC, RMSE) to none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.register import metric_information

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation import subsets
from ur4rec_recbole.evaluation.candidates import SAMPLED
from ur4rec_recbole.evaluation.ranking import Ranked, rank_targets

PROTOCOLS = ("full", "full_masked", *SAMPLED)
LIST_LENGTH = 10  # of the recommendations that coverage and Gini are always taken of
ITEMS = "rec.items"  # what RecBole calls the recommended lists


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on one data split, validation or test.

    Attributes
    ----------
    users
        [R] user tokens.
    ranks
        By protocol, [R].
    metrics
        By protocol, RecBole's configured metrics and the mean reciprocal rank without a cut-off.
    details
        "full_masked/lists" with coverage and Gini index of the first ten, and for each protocol
        "<protocol>/tail" and so on with hit@10, ndcg@10 and the number of rows of each subset.
    """

    users: np.ndarray
    ranks: dict[str, np.ndarray]
    metrics: dict[str, dict[str, float]]
    details: dict[str, dict[str, float]]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays that a run folder keeps for the data split called `name`."""
        return {f"{name}/{key}": values for key, values in self.ranks.items()} | {
            f"{name}/users": self.users
        }


def evaluate(
    model: Any, part: UR4RecDataset, config: Any, seed: int = 2020
) -> dict[str, dict[str, float]]:
    """Return RecBole's metrics by protocol for the validation or test split of a data set."""
    found = _ranked(model, part, config, seed)
    return {name: metrics(each.ranks, config, _inputs(each, part)) for name, each in found.items()}


def measure(model: Any, part: UR4RecDataset, config: Any, seed: int = 2020) -> Evaluation:
    """Evaluate as `evaluate` does, with users, ranks, subsets and measures of the lists."""
    found = _ranked(model, part, config, seed)
    ranks = {name: each.ranks for name, each in found.items()}
    by_protocol = {
        name: metrics(each.ranks, config, _inputs(each, part))
        | {"mrr": float(np.mean(1 / each.ranks))}
        for name, each in found.items()
    }
    details = {"full_masked/lists": _lists(found["full_masked"], part)}
    for name, rows in subsets.subsets(part).items():
        for protocol, each in ranks.items():
            details[f"{protocol}/{name}"] = {
                "rows": int(rows.sum()),
                "hit@10": float(subsets.per_target(each[rows], "hit@10").mean()),
                "ndcg@10": float(subsets.per_target(each[rows], "ndcg@10").mean()),
            }
    users = part.id2token(part.uid_field, part.inter_feat[part.uid_field].numpy())
    return Evaluation(np.asarray(users, dtype=str), ranks, by_protocol, details)


def ranks(
    model: Any, part: UR4RecDataset, device: Any, batch_size: int = 256, seed: int = 2020
) -> dict[str, np.ndarray]:
    """Rank the target of every row, [R] by protocol; `rank_targets` without lists."""
    found = rank_targets(model, part, device, batch_size, seed)
    return {name: each.ranks for name, each in found.items()}


def metrics(
    ranks: np.ndarray, config: Any, inputs: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Compute the configured metrics that ranks and `inputs` allow, with RecBole's evaluator.

    Parameters
    ----------
    ranks
        [R] of the targets, 1 is best.
    config
        `metrics`, `topk` and what else the metrics read.
    inputs
        What metrics need besides ranks, by RecBole's names.
    """
    deepest = max(config["topk"])
    hits = torch.zeros(len(ranks), deepest + 1, dtype=torch.int)
    hits[:, -1] = 1  # each row has one target
    shown = np.flatnonzero(ranks <= deepest)
    hits[shown, ranks[shown] - 1] = 1
    struct = DataStruct()
    for name, value in {"rec.topk": hits, **(inputs or {})}.items():
        struct.set(name, value)
    evaluator = Evaluator(config)
    evaluator.metrics = [name for name in evaluator.metrics if not _lacking(name, struct)]
    return {key: float(value) for key, value in evaluator.evaluate(struct).items()}


def left_out(config: Any) -> dict[str, list[str]]:
    """Return, by protocol, the configured metrics that it does not support."""
    needs = {name: metric_information[name.lower()] for name in config["metrics"]}
    found = {}
    for protocol in PROTOCOLS:
        lacking = {"rec.score", ITEMS} if protocol in SAMPLED else {"rec.score"}
        found[protocol] = [name for name, need in needs.items() if lacking & set(need)]
    return {protocol: names for protocol, names in found.items() if names}


def check_cut_offs(config: Any, n_items: int) -> None:
    """Raise `InputError` for a cut-off above the number of items: RecBole's top-k would fail."""
    if max(config["topk"]) > n_items:
        raise InputError(
            "Configuration key 'topk'", f"must be at most {n_items}, the number of items",
            config["topk"], "Lower it.",
        )  # fmt: skip


def _ranked(model: Any, part: UR4RecDataset, config: Any, seed: int) -> dict[str, Ranked]:
    listed = max(LIST_LENGTH, *config["topk"])
    return rank_targets(model, part, config["device"], config["eval_batch_size"], seed, listed)


def _inputs(ranked: Ranked, part: UR4RecDataset) -> dict[str, Any]:
    """Return what RecBole's metrics need beside hits, as its Collector would."""
    ones = np.ones_like(ranked.ranks)
    places = np.stack([ranked.ranks, ranked.candidates, ones], axis=1).astype(np.float64)
    counted = np.flatnonzero(part.training_counts)
    found = {
        "rec.meanrank": torch.from_numpy(places),  # ranks, how many were ranked, targets
        "data.num_items": part.item_num,  # padding included, as RecBole counts
        "data.num_users": part.user_num,
        "data.count_items": dict(
            zip(counted.tolist(), part.training_counts[counted].tolist(), strict=True)
        ),
    }
    return found if ranked.lists is None else found | {ITEMS: torch.from_numpy(ranked.lists)}


def _lists(ranked: Ranked, part: UR4RecDataset) -> dict[str, float]:
    """Return coverage and Gini index of the first ten recommendations."""
    wanted = {"metrics": ["ItemCoverage", "GiniIndex"], "topk": [LIST_LENGTH]}
    found = metrics(ranked.ranks, wanted | {"metric_decimal_place": 6}, _inputs(ranked, part))
    names = {"coverage": "itemcoverage", "gini": "giniindex"}
    return {f"{ours}@{LIST_LENGTH}": found[f"{name}@{LIST_LENGTH}"] for ours, name in names.items()}


def _lacking(metric: str, struct: DataStruct) -> set[str]:
    return {need for need in metric_information[metric] if need not in struct}
