"""How fast a recommender answers, on one core.

python -m ur4rec_recbole.serving.speed runs/UR4Rec-ml-100k
"""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
import torch

from ur4rec_recbole.serving.recommender import Recommender

REPEATS = 100  # requests of one history, and MANY histories at once a tenth as often
MANY = 1000


def measure(recommender: Recommender, seed: int = 2020) -> dict[str, float]:
    """Return median milliseconds of one history and of 1,000, ten items each."""
    histories = _histories(recommender, seed)
    one = [_milliseconds(recommender, [each]) for each in histories[:REPEATS]]
    many = [_milliseconds(recommender, histories) for _ in range(REPEATS // 10)]
    return {
        "items": len(recommender.index.ids),
        "one_history_ms": float(np.median(one[REPEATS // 10 :])),  # the first warm up
        f"{MANY}_histories_ms": float(np.median(many[1:])),
    }


def _histories(recommender: Recommender, seed: int) -> list[list[str]]:
    """Draw known users' histories, the same one more than once where there are fewer."""
    rng = np.random.default_rng(seed)
    users = rng.integers(1, len(recommender.histories.tokens), size=MANY)
    tokens = recommender.index.tokens
    return [[tokens[item] for item in recommender.histories.user(user)[0]] for user in users]


def _milliseconds(recommender: Recommender, histories: Sequence[Sequence[str]]) -> float:
    began = time.perf_counter()
    recommender.recommend(histories[0] if len(histories) == 1 else histories)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run's folder, or one that `ur4rec export` wrote")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(Recommender.load(options.model)), indent=1))


if __name__ == "__main__":
    main()
