"""Search indices of faiss over the rows of `InnerProducts`: exact ones, and HNSW, which is not.

HNSW (Malkov and Yashunin 2018) looks at few of the items: at a hundred thousand and more it answers
in a fraction of the time, and misses some. How many is measured on queries of the model.
"""

import importlib
import time
from typing import Any, NamedTuple

import numpy as np

from ur4rec_recbole.core.errors import InputError

NEIGHBOURS, BREADTH = 32, 80  # links an item in HNSW, and candidates looked at for them
BREADTHS = (16, 32, 64, 128, 256, 512, 1024)  # tried for searching
ENOUGH = 0.95  # recall@10


class Measured(NamedTuple):
    """How an approximate index compares with the exact one.

    Attributes
    ----------
    breadth
        Candidates that a search looks at (efSearch), as few as `ENOUGH` needs.
    recall
        Mean share of the exact ten best that it finds.
    milliseconds, exact_milliseconds
        Medians of one query, of it and of the exact index.
    """

    breadth: int
    recall: float
    milliseconds: float
    exact_milliseconds: float


def exact(rows: np.ndarray, ids: np.ndarray) -> Any:
    """Return an index of inner products of rows [N, V] under `ids` [N]."""
    faiss = library("faiss")
    index = faiss.IndexIDMap(faiss.IndexFlatIP(rows.shape[1]))
    index.add_with_ids(rows, ids)
    return index


def hnsw(rows: np.ndarray, ids: np.ndarray) -> Any:
    """Return an index that finds most of the best inner products; arguments as in `exact`."""
    faiss = library("faiss")
    graph = faiss.IndexHNSWFlat(rows.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = BREADTH
    index = faiss.IndexIDMap(graph)
    index.add_with_ids(rows, ids)
    return index


def tune(index: Any, against: Any, queries: np.ndarray) -> Measured:
    """Let an HNSW index search as broadly as `ENOUGH` needs, on queries [Q, V]; say what it costs.

    The breadth is kept in the index, also on disk.
    """
    graph = library("faiss").downcast_index(index.index)
    best = against.search(queries, 10)[1]
    for breadth in BREADTHS:
        graph.hnsw.efSearch = breadth
        recall = shared(best, index.search(queries, 10)[1])
        if recall >= ENOUGH:
            break
    return Measured(breadth, recall, _median(index, queries), _median(against, queries))


def shared(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the mean share of the ids of each row [Q, k] of one list that the other has, too."""
    pairs = zip(expected.tolist(), found.tolist(), strict=True)
    return float(np.mean([len(set(left) & set(right)) / len(left) for left, right in pairs]))


def _median(index: Any, queries: np.ndarray) -> float:
    taken = []
    for query in queries[:100]:
        began = time.perf_counter()
        index.search(query[None], 10)
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken))


def library(name: str) -> Any:
    """Import what `ur4rec_recbole[export]` installs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            name, "must be installed for this export", error,
            "Run `pip install ur4rec_recbole[export]`.",
        ) from error  # fmt: skip
