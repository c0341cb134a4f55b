"""One training epoch of UR4Rec's encoder against one of RecBole's SASRec, same size, one run.

python -m ur4rec_recbole.bench_epoch        (or: make bench-epoch)
"""

import statistics
import sys
import time
from typing import Any

import torch
from recbole.config import Config

from ur4rec_recbole.assembly import build_trainer, load_data

SIZE = {
    "n_layers": 2,
    "n_heads": 2,
    "hidden_size": 64,
    "inner_size": 256,
    "hidden_dropout_prob": 0.5,
    "attn_dropout_prob": 0.5,
    "train_neg_sample_args": None,
    "state": "ERROR",
    "show_progress": False,
}
REPEATS = 5


def trainer_and_data(model: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Build a RecBole trainer and its training data on ML-100K."""
    config = Config(model, "ml-100k", config_dict={**SIZE, **settings})
    train_data, _, _ = load_data(config)
    return build_trainer(config, train_data), train_data


def seconds(trainer: Any, data: Any) -> float:
    """Time one training epoch."""
    began = time.perf_counter()
    trainer._train_epoch(data, 0)
    return time.perf_counter() - began


def main() -> int:
    """Print both times and their ratio."""
    sys.argv = sys.argv[:1]  # RecBole reads configuration from the command line
    ours, our_data = trainer_and_data(
        "UR4Rec", {"stages": ["pretrain_sasrec"], "train_batch_size": 64}
    )
    theirs, their_data = trainer_and_data("SASRec", {"train_batch_size": 2048})
    ours.model.enter(ours.stages[0])
    seconds(ours, our_data)  # warm-up
    fast = statistics.median(seconds(ours, our_data) for _ in range(REPEATS))
    slow = seconds(theirs, their_data)
    print(f"ML-100K, 64 dims, 2 layers, float32, {torch.get_num_threads()} threads, seed 2020")
    print(f"RecBole SASRec    {slow:8.2f} s an epoch  ({len(their_data._dataset)} rows of 50)")
    print(f"UR4Rec's encoder  {fast:8.2f} s an epoch  ({len(our_data._dataset)} windows of 50)")
    print(f"ratio             {slow / fast:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
