"""Why an item is recommended: which score, which modality, which items of the history."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model.experts import HierarchicalMoE
from ur4rec_recbole.model.stages import SCORES
from ur4rec_recbole.serving.histories import History, as_batch
from ur4rec_recbole.serving.index import Index
from ur4rec_recbole.serving.network import ServedUR4Rec

SHOWN = 50  # newest items of a history that are left out in turn


class Explanation(NamedTuple):
    """Why one item is scored as it is.

    Attributes
    ----------
    item
        Its token.
    score, rank
        Among all items; 1 is best.
    parts
        What the sequence and the retrieval score add to it, and each correction that has a part in
        it (trend, neighbours by content, co-occurrences, the boost of rare items, the offset of new
        ones); they sum to the score. Of a model that predicts by one score, that one alone; the
        popularity, where nothing is known of the history's items.
    routes
        Weight of each modality in the experts' state; they sum to 1, or are 0 where a history has
        no content at all. Empty where experts take no part.
    history
        (token, change) of the newest items, the most important first: how much lower the score is
        without that item. A negative change: the item speaks against it.
    """

    item: str
    score: float
    rank: int
    parts: dict[str, float]
    routes: dict[str, float]
    history: list[tuple[str, float]]


@torch.inference_mode()
def explain(index: Index, history: History, item: int) -> Explanation:
    """Explain the score of an internal id for a history that is not empty."""
    network = index.network
    if not isinstance(network, ServedUR4Rec) or not len(history.items):
        raise InputError(
            "explain", "needs a model of UR4Rec, and a history with items that it knows",
            f"{type(network).__name__}, {len(history.items)} items", "Give it some.",
        )  # fmt: skip
    scores = next(index.scores([history]))[0]  # [N]
    if not scores[item].isfinite():
        raise InputError(
            f"explain: item {index.tokens[item]!r}", "must be one that can be recommended",
            "one of which nothing is known, or of the history that the model leaves out",
            "Name another one.",
        )  # fmt: skip
    parts, routes = _parts(network, history, index.config)
    told = {name: float(values[item]) for name, values in parts.items()}
    batch = as_batch([history], index.config, whole_window=False)
    corrected = network.corrected(batch, [])
    for each in network.corrections:
        if each.is_active:
            corrected = network.correct(corrected, batch, [each])
            told[each.name] = float(corrected[0, item]) - sum(told.values())
    shorter = _without_each(history)
    without = torch.cat(list(index.scores(shorter)))[:, item] if len(history.items) > 1 else None
    reasons = []
    if without is not None:
        newest = history.items[-len(shorter) :]
        changes = (scores[item] - without).tolist()
        reasons = [(index.tokens[i], change) for i, change in zip(newest, changes, strict=True)]
        reasons.sort(key=lambda pair: -abs(pair[1]))
    rank = int((scores > scores[item]).sum()) + 1
    return Explanation(index.tokens[item], float(scores[item]), rank, told, routes, reasons)


def _parts(
    network: ServedUR4Rec, history: History, config: dict
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return what each score adds for all items [N], and the routes by modality."""
    kind = SCORES[int(network.score)]
    batch = as_batch([history], config, whole_window=False)
    if network.refused_items[batch[network.ITEM_SEQ]].all():
        return {"popularity": network.popularity}, {}
    h, r, routes = network.final_states(batch, network.table, network.retrieves)
    query, rows = network.products(h, r), network.products.rows
    if kind == "fused":  # both stand side by side
        width = network.products.width
        parts = {
            "sequence": query[:, :width] @ rows[:, :width].T,
            "retrieval": query[:, width:] @ rows[:, width:].T,
        }
    else:
        parts = {kind: query @ rows.T}
    weights = {}
    if routes is not None and isinstance(network.experts, HierarchicalMoE):
        names = list(network.experts.modalities)
        weights = dict(zip(names, routes.modal[0].tolist(), strict=True))
    return {name: values[0] for name, values in parts.items()}, weights


def _without_each(history: History) -> list[History]:
    """Return the history without each of its newest items, in their order."""
    count = len(history.items)
    kept = [np.arange(count) != place for place in range(max(0, count - SHOWN), count)]
    return [
        History(history.items[each], history.times[each], history.now, history.user)
        for each in kept
    ]
