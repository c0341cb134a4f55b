"""How fast a recommender answers: in this process on one core, over HTTP, and from an index.

python -m ur4rec_recbole.serving.speed runs/UR4Rec-ml-100k
python -m ur4rec_recbole.serving.speed models/shop --http --index 10000 100000 1000000
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ur4rec_recbole.serving import load, search_index
from ur4rec_recbole.serving.histories import as_batch
from ur4rec_recbole.serving.recommender import Recommender

REPEATS = 100  # requests of one history, and MANY histories at once a tenth as often
MANY = 1000


def measure(recommender: Recommender, histories: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return median milliseconds of one history and of `MANY`, ten items each."""
    one = [_milliseconds(recommender, [each]) for each in histories[:REPEATS]]
    many = [_milliseconds(recommender, histories) for _ in range(REPEATS // 10)]
    return {
        "items": len(recommender.index.ids),
        "one_history_ms": float(np.median(one[REPEATS // 10 :])),  # the first warm up
        f"{MANY}_histories_ms": float(np.median(many[1:])),
    }


def known_histories(recommender: Recommender, seed: int = 2020) -> list[list[str]]:
    """Draw known users' histories, the same one more than once where there are fewer."""
    rng = np.random.default_rng(seed)
    users = rng.integers(1, len(recommender.histories.tokens), size=MANY)
    tokens = recommender.index.tokens
    return [[tokens[item] for item in recommender.histories.user(user)[0]] for user in users]


def measure_index(
    recommender: Recommender, histories: Sequence[Sequence[str]], n_items: int, seed: int = 2020
) -> dict[str, Any]:
    """Compare HNSW with exact search over `n_items` vectors planted around the model's own.

    Each is one of the model's item vectors with Gaussian noise of half the items' deviation in each
    direction; queries are those of the histories.
    """
    network = recommender.index.network
    rng = np.random.default_rng(seed)
    own = network.products.rows.numpy()[~network.refused_items.numpy()]
    noise = rng.standard_normal((n_items, own.shape[1]), dtype=np.float32) * own.std(0) / 2
    rows = own[rng.integers(0, len(own), n_items)] + noise
    ids = np.arange(n_items)
    read = [recommender.read(each) for each in histories]
    with torch.inference_mode():
        queries = network.query(as_batch(read, network.config, whole_window=False)).numpy()
    exact = search_index.exact(rows, ids)
    began = time.perf_counter()
    index = search_index.hnsw(rows, ids)
    built = time.perf_counter() - began
    return {"seconds_to_build": built, **search_index.tune(index, exact, queries)._asdict()}


def _milliseconds(recommender: Recommender, histories: Sequence[Sequence[str]]) -> float:
    began = time.perf_counter()
    recommender.recommend(histories[0] if len(histories) == 1 else histories)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run's folder, or one that `ur4rec export` wrote")
    parser.add_argument("--http", action="store_true", help="also the service, under load")
    parser.add_argument("--index", type=int, nargs="+", default=[], help="also HNSW of so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recommender = Recommender.load(options.model)
    histories = known_histories(recommender)
    found: dict[str, Any] = measure(recommender, histories)
    if options.http:
        found["http"] = load.measure(recommender, histories)
    for n_items in options.index:
        search_index.library("faiss").omp_set_num_threads(1)
        found[f"hnsw_of_{n_items}"] = measure_index(recommender, histories, n_items)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
