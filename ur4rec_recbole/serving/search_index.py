"""Search indices of faiss over the rows of `InnerProducts`: an exact one, and one by HNSW.

The latter looks at few of the items: at a hundred thousand and more it answers in a fraction of the
time, and misses some. How many is measured on queries of the model. Items are sorted into cells by
k-means, a graph over the cells' centres (HNSW, Malkov and Yashunin 2018) finds the nearest ones,
and the items of these are compared one by one. A graph over the items themselves falls apart where
many are alike: it had 0.70 of the ten best among a million items in some 1,700 clusters, however
broadly it searched.

Cells are regions of distance, where items of a large norm would be everyone's neighbours. So a
further coordinate brings all items to one norm (Bachrach et al. 2014, section 3.1); queries have 0
there, and the nearest item is that of the largest inner product.
"""

import importlib
import time
from typing import Any, NamedTuple

import numpy as np

from ur4rec_recbole.core.errors import needs

LINKS = 32  # of a centre in the graph
CELLS = 4  # times the square root of the number of items
LEAST, MOST, ROUNDS = 39, 50, 10  # of k-means: items a cell (faiss's least), and rounds
PROBES = (4, 8, 16, 32, 64, 128, 256)  # cells tried for searching
ENOUGH = 0.95  # recall@10


class Measured(NamedTuple):
    """How an approximate index compares with the exact one.

    Attributes
    ----------
    probes
        Cells that a search looks at (nprobe), as few as `ENOUGH` needs.
    recall
        Mean share of the exact ten best that it finds.
    milliseconds, exact_milliseconds
        Medians of one query, of it and of the exact index.
    """

    probes: int
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
    """Return an index [V + 1] that finds most of the best; arguments as in `exact`."""
    cells = max(1, min(int(CELLS * len(rows) ** 0.5), len(rows) // LEAST))
    index = library("faiss").index_factory(rows.shape[1] + 1, f"IVF{cells}_HNSW{LINKS},Flat")
    index.cp.max_points_per_centroid, index.cp.niter = MOST, ROUNDS
    squares = (rows**2).sum(1, keepdims=True)
    level = np.hstack([rows, np.sqrt(squares.max() - squares)])
    index.train(level)
    index.add_with_ids(level, ids)
    return index


def search(index: Any, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the ids of the k best of each query [Q, V], of either kind of index."""
    missing = index.d - queries.shape[1]
    return np.asarray(index.search(np.pad(queries, ((0, 0), (0, missing))), k)[1])


def tune(index: Any, against: Any, queries: np.ndarray) -> Measured:
    """Let an index of cells search as many as `ENOUGH` needs, on queries [Q, V]; say what it costs.

    The number is kept in the index, also on disk.
    """
    graph = library("faiss").downcast_index(index.quantizer)
    best = search(against, queries, 10)
    for probes in PROBES:
        index.nprobe, graph.hnsw.efSearch = min(probes, index.nlist), 2 * probes
        recall = shared(best, search(index, queries, 10))
        if recall >= ENOUGH or probes >= index.nlist:
            break
    return Measured(index.nprobe, recall, _median(index, queries), _median(against, queries))


def shared(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the mean share of the ids of each row [Q, k] of one list that the other has, too."""
    pairs = zip(expected.tolist(), found.tolist(), strict=True)
    return float(np.mean([len(set(left) & set(right)) / len(left) for left, right in pairs]))


def _median(index: Any, queries: np.ndarray) -> float:
    taken = []
    for query in queries[:100]:
        began = time.perf_counter()
        search(index, query[None], 10)
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken))


def library(name: str) -> Any:
    """Import what `ur4rec_recbole[export]` installs."""
    with needs(name, "for this export", "export"):
        return importlib.import_module(name)
