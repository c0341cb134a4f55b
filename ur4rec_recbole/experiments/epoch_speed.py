"""One training epoch of UR4Rec's encoder against one of RecBole's SASRec, same size, one run.

python -m ur4rec_recbole.experiments.epoch_speed                (or: make bench-epoch)
python -m ur4rec_recbole.experiments.epoch_speed --synthetic    on a million made-up interactions
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.datasets import synthetic
from ur4rec_recbole.runs.assembly import build_trainer, load_data

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


def trainer_and_data(dataset: str, model: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Build a RecBole trainer and its training data."""
    with settings_from():
        config = Config(model, dataset, config_dict={**SIZE, **settings})
    train_data, _, _ = load_data(config)
    return build_trainer(config, train_data), train_data


def seconds(trainer: Any, data: Any) -> float:
    """Time one training epoch."""
    began = time.perf_counter()
    trainer._train_epoch(data, 0)
    return time.perf_counter() - began


def main() -> int:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--synthetic", action="store_true", help="on 1M made-up interactions")
    chosen = parser.parse_args()
    dataset, where = "ml-100k", {}
    if chosen.synthetic:
        dataset, where = synthetic.NAME, synthetic.location(Path("dataset"))
    ours, our_data = trainer_and_data(
        dataset, "UR4Rec", {"stages": ["pretrain_sasrec"], "train_batch_size": 64, **where}
    )
    ours.model.enter(ours.stages[0])
    seconds(ours, our_data)  # warm-up
    fast = statistics.median(seconds(ours, our_data) for _ in range(REPEATS))
    print(f"{dataset}, 64 dims, 2 layers, float32, {torch.get_num_threads()} threads, seed 2020")
    print(f"UR4Rec's encoder           {fast:8.2f} s an epoch ({len(our_data._dataset)} windows)")
    for name, quick in (("SASRec", False), ("SASRec, quick_layers", True)):
        settings = {"train_batch_size": 2048, "quick_layers": quick, **where}
        theirs, their_data = trainer_and_data(dataset, "SASRec", settings)
        slow = seconds(theirs, their_data)
        rows = len(their_data._dataset)
        print(f"{name:27}{slow:8.2f} s an epoch ({rows} rows), {slow / fast:.1f} times as long")
    return 0


if __name__ == "__main__":
    sys.exit(main())
