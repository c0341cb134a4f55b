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
        What the sequence and the retrieval score add to it; they sum to the score. Of a model that
        predicts by one of them, that one alone.
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


def explain(index: Index, history: History, item: int) -> Explanation:
    """Explain the score of an internal id for a history that is not empty."""
    network = index.network
    if not isinstance(network, ServedUR4Rec) or not len(history.items):
        raise InputError(
            "explain", "needs a model of UR4Rec, and a history with items that it knows",
            f"{type(network).__name__}, {len(history.items)} items", "Give it some.",
        )  # fmt: skip
    parts, routes = _parts(network, history, index.config)
    scores = torch.stack(list(parts.values())).sum(0)  # [N]
    scores[0] = -torch.inf
    shorter = _without_each(history)
    without = torch.cat(list(index.scores(shorter)))[:, item] if len(history.items) > 1 else None
    full = next(index.scores([history]))[0, item]
    told = []
    if without is not None:
        newest = history.items[-len(shorter) :]
        changes = (full - without).tolist()
        told = [(index.tokens[i], change) for i, change in zip(newest, changes, strict=True)]
        told.sort(key=lambda pair: -abs(pair[1]))
    return Explanation(
        index.tokens[item],
        float(full),
        int((scores > scores[item]).sum()) + 1,
        {name: float(values[item]) for name, values in parts.items()},
        routes,
        told,
    )


def _parts(
    network: ServedUR4Rec, history: History, config: dict
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return what each score adds for all items [N], and the routes by modality."""
    kind = SCORES[int(network.score)]
    with torch.no_grad():
        batch = as_batch([history], config, whole_window=False)
        h, r, routes = network.final_states(batch, network.table, kind != "sequence")
        if kind != "fused":
            parts = network.scores(h, r, network.table, [kind])
        else:
            raw = network.scores(h, r, network.table, ["sequence", "retrieval"])
            none = torch.zeros_like(raw["sequence"])  # a score that is the same for all adds 0
            parts = {
                "sequence": network.fusion(h, raw["sequence"], none),
                "retrieval": network.fusion(h, none, raw["retrieval"]),
            }
    weights = {}
    if routes is not None and isinstance(network.experts, HierarchicalMoE):
        names = list(network.experts.modalities)
        weights = dict(zip(names, routes.modal[0].tolist(), strict=True))
    return {name: values[0].clone() for name, values in parts.items()}, weights


def _without_each(history: History) -> list[History]:
    """Return the history without each of its newest items, in their order."""
    count = len(history.items)
    kept = [np.arange(count) != place for place in range(max(0, count - SHOWN), count)]
    return [
        History(history.items[each], history.times[each], history.now, history.user)
        for each in kept
    ]
