"""From scores to recommendations: what may be recommended, the best of it, and tables."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.serving.histories import History
from ur4rec_recbole.serving.index import Index
from ur4rec_recbole.serving.tokens import as_tokens


class Recommendations(NamedTuple):
    """Recommended items of one history, best first, their scores, and tokens it did not know."""

    items: list[str]
    scores: list[float]
    unknown: tuple[str, ...] = ()


@torch.inference_mode()
def best(
    index: Index,
    histories: Sequence[History],
    k: int,
    exclude: Iterable[Any],
    include_only: Iterable[Any] | None,
    repeat: bool,
    only_new: bool,
) -> list[Recommendations]:
    """Return the best of what each history may be recommended."""
    k = require_number(k)
    out = torch.zeros(len(index.tokens), dtype=torch.bool)
    if include_only is not None:
        chosen, _ = index.known(as_tokens(include_only, "include_only"))
        if not len(chosen):
            raise InputError(
                "include_only", "must name an item of the catalogue", "none of them",
                "Correct the ids, or leave it out.",
            )  # fmt: skip
        out[:] = True
        out[chosen] = False
    out[index.known(as_tokens(exclude, "exclude"))[0]] = True
    if only_new:
        out |= ~index.new()
    found: list[Recommendations] = []
    for scores in index.scores(histories, repeat):
        part = histories[len(found) : len(found) + len(scores)]
        scores.masked_fill_(out, -torch.inf)
        if not repeat:
            for row, history in zip(scores.numpy(), part, strict=True):
                row[history.items] = -np.inf
        found += top(index, scores, k, [each.unknown for each in part])
    return found


def top(
    index: Index, scores: Tensor, k: int, unknown: Sequence[tuple[str, ...]]
) -> list[Recommendations]:
    """Return the best k of scores [B, N], fewer where fewer are allowed."""
    kept, places = scores.topk(min(k, scores.shape[1]))
    found = []
    for values, items, strange in zip(kept.tolist(), places.tolist(), unknown, strict=True):
        pairs = [(index.tokens[i], v) for i, v in zip(items, values, strict=True) if v > -np.inf]
        found.append(Recommendations([i for i, _ in pairs], [v for _, v in pairs], strange))
    return found


def table(name: str, keys: Iterable[Any], found: Sequence[Recommendations]) -> pd.DataFrame:
    """Lay recommendations out, one row each, with their history's key in the column `name`."""
    keys = list(keys)
    sizes = [len(each.items) for each in found]
    frame = pd.DataFrame(
        {
            name: np.repeat(np.array(keys, dtype=object), sizes),
            "rank": [place for size in sizes for place in range(1, size + 1)],
            "item": [item for each in found for item in each.items],
            "score": [score for each in found for score in each.scores],
        }
    )
    frame.attrs["unknown"] = {
        key: each.unknown for key, each in zip(keys, found, strict=True) if each.unknown
    }
    return frame


def require_number(k: Any) -> int:
    """Return a number of items, if it is one."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InputError("k", "must be a whole number of at least 1", repr(k), "Write 10.")
    return k
