"""Subsets of targets (tail and cold items, short and long histories, repeats), and gains of ranks.

Used by `protocols.measure`, and by reports for the gains of ranks.
"""

import numpy as np

from ur4rec_recbole.data.dataset import HISTORY_END, HISTORY_START, UR4RecDataset

HEAD_SHARE = 0.2  # of the items, by training interactions; all others are the tail
COLD = 5  # training interactions, at most


def subsets(part: UR4RecDataset) -> dict[str, np.ndarray]:
    """Mark the rows [R] of a data split by subset; a subset without a row is left out.

    tail: the target is outside the 20% of items with the most training interactions. cold: it has
    5 at most. unseen: it has none. repeated: the user has had it before. short, medium, long:
    thirds of the rows by history length.
    """
    count = part.training_counts[part.inter_feat[part.iid_field].numpy()]
    length = (part.inter_feat[HISTORY_END] - part.inter_feat[HISTORY_START]).numpy()
    low, high = np.quantile(length, [1 / 3, 2 / 3]) if len(length) else (0, 0)
    found = {
        "tail": ~head(part.training_counts)[part.inter_feat[part.iid_field].numpy()],
        "cold": count <= COLD,
        "unseen": count == 0,
        "repeated": repeated(part),
        "short": length <= low,
        "medium": (length > low) & (length <= high),
        "long": length > high,
    }
    return {name: rows for name, rows in found.items() if rows.any()}


def repeated(part: UR4RecDataset) -> np.ndarray:
    """Mark the rows [R] whose target the user has had before."""
    users = part.interactions[part.uid_field].numpy().astype(np.int64)
    pairs = users * part.item_num + part.interactions[part.iid_field].numpy()
    _, first, where = np.unique(pairs, return_index=True, return_inverse=True)
    targets = part.inter_feat[HISTORY_END].numpy()
    return first[where[targets]] < targets


def head(counts: np.ndarray) -> np.ndarray:
    """Mark the most popular fifth of the items, [N]; `counts` [N] has padding first."""
    n_head = int(np.ceil(HEAD_SHARE * (len(counts) - 1)))
    marked = np.zeros(len(counts), dtype=bool)
    marked[1 + np.argsort(-counts[1:], kind="stable")[:n_head]] = True
    return marked


def per_target(ranks: np.ndarray, metric: str) -> np.ndarray:
    """Return `hit@k`, `ndcg@k` or `mrr` of each target, whose mean is the metric.

    hit is 1 in the first k places and ndcg 1 / log2(1 + rank), both 0 behind them; mrr is 1 / rank.
    """
    name, _, k = metric.partition("@")
    gains = {"hit": np.ones(len(ranks)), "ndcg": 1 / np.log2(1 + ranks), "mrr": 1 / ranks}
    return np.where(ranks <= int(k), gains[name], 0.0) if k else gains[name]
