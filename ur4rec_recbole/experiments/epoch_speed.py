"""One training epoch of UR4Rec's encoder against SASRec of RecBole and of RecTools, one run.

python -m ur4rec_recbole.experiments.epoch_speed                (or: make bench-epoch)
python -m ur4rec_recbole.experiments.epoch_speed --synthetic    on a million made-up interactions
python -m ur4rec_recbole.experiments.epoch_speed --dataset amazon-scientific --data-path data

All have the same size and read lists of 50; a step of ours and of RecBole's has about 2,560
targets. RecTools, of an environment of its own, predicts the last 50 interactions of each user, the
others all of them: times a target stand beside those of an epoch.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.data.dataset import UR4RecDataset, training_interactions
from ur4rec_recbole.datasets import synthetic
from ur4rec_recbole.experiments import floor
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.runs.doctor import take_step

SIZE = {
    "n_layers": 2,
    "n_heads": 2,
    "hidden_size": 64,
    "inner_size": 256,
    "hidden_dropout_prob": 0.5,
    "attn_dropout_prob": 0.5,
}
QUIET = {"train_neg_sample_args": None, "state": "ERROR", "show_progress": False}
COLUMNS = {"inter": ["user_id", "item_id", "timestamp"]}
TARGETS = 2_560  # of a step
LISTED = 50  # MAX_ITEM_LIST_LENGTH, RecBole's default
ADAPTER = {
    "adapter": "examples/rectools_adapter.py",
    "adapter_requirements": ["rectools[torch]==0.19.0"],
    "adapter_options": {
        "model": "SASRec", "n_blocks": 2, "n_heads": 2, "n_factors": 64, "dropout_rate": 0.5,
        "session_max_len": LISTED, "loss": "softmax", "batch_size": 128,
    },
}  # fmt: skip
REPEATS = 3
SAMPLED = 5  # steps whose floor is counted


def trainer_and_data(dataset: str, model: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Build a RecBole trainer and its training data."""
    size = {} if model == "External" else SIZE  # its adapter has options of its own
    with settings_from():
        config = Config(model, dataset, config_dict={**size, **QUIET, **settings})
    train_data, _, _ = load_data(config)
    return build_trainer(config, train_data), train_data


def seconds(trainer: Any, data: Any) -> float:
    """Time one training epoch."""
    began = time.perf_counter()
    trainer._train_epoch(data, 0)
    return time.perf_counter() - began


def floor_seconds(trainer: Any, data: Any) -> float:
    """Return the floor of an epoch, from that of a few steps."""
    work = [
        floor.work_of(lambda batch=batch: take_step(trainer, batch))  # type: ignore[misc]
        for batch in itertools.islice(data, SAMPLED)
    ]
    rates = floor.measured_rates()
    return len(data) * statistics.mean(each.seconds(rates, torch.float32) for each in work)


def main() -> int:
    """Print the times and their ratios."""
    chosen = _parser().parse_args()
    dataset: str = chosen.dataset
    where: dict[str, Any] = {}
    if chosen.data_path:
        where = {"data_path": chosen.data_path, "load_col": COLUMNS}
    if chosen.synthetic:
        dataset, where = synthetic.NAME, synthetic.location(Path("dataset"))
    ours, our_data = _ours(dataset, where)
    ours._begin(ours.stages[0])
    seconds(ours, our_data)  # warm-up
    fast = statistics.median(seconds(ours, our_data) for _ in range(REPEATS))
    targets = _targets(our_data)
    print(f"{dataset}, 64 dims, 2 layers, float32, {torch.get_num_threads()} threads, seed 2020")

    def tell(name: str, spent: float, number: int) -> None:
        each, ratio = spent / number, spent / number / (fast / targets)
        print(
            f"{name:27}{spent:8.2f} s an epoch, {spent / fast:5.1f} times as long; "
            f"{each * 1e6:7.1f} us a target of {number:,}, {ratio:.1f} times as long",
            flush=True,
        )

    tell("floor of UR4Rec's encoder", floor_seconds(ours, our_data), targets)
    tell("UR4Rec's encoder", fast, targets)
    if not chosen.synthetic:
        theirs, _ = trainer_and_data(dataset, "External", {**ADAPTER, **where})
        with tempfile.TemporaryDirectory() as place:
            told = theirs.told(Path(place), UR4RecDataset(theirs.config).build())
            epochs = [row["seconds"] for row in itertools.islice(told, 1 + REPEATS)]
            told.close()  # without scoring
        spent = statistics.median(epochs[1:])  # the first one warms up
        tell("RecTools' SASRec", spent, _targets(our_data, LISTED))
    for name, quick in (("RecBole's, quick_layers", True), ("RecBole's SASRec", False)):
        settings = {"train_batch_size": TARGETS, "quick_layers": quick, **where}
        theirs, their_data = trainer_and_data(dataset, "SASRec", settings)
        tell(name, seconds(theirs, their_data), targets)
    return 0


def _ours(dataset: str, where: dict[str, Any]) -> tuple[Any, Any]:
    """Build UR4Rec's encoder with as many windows a step as have `TARGETS` in the mean."""
    settings = {"stages": ["pretrain_sasrec"], "train_batch_size": 64, **where}
    _, data = trainer_and_data(dataset, "UR4Rec", settings)
    settings["train_batch_size"] = max(1, round(TARGETS * len(data._dataset) / _targets(data)))
    return trainer_and_data(dataset, "UR4Rec", settings)


def _targets(data: Any, most: int | None = None) -> int:
    """Count the interactions to predict, of each user all but the first, or the `most` last."""
    users = training_interactions(data._dataset)[data._dataset.uid_field]
    return int((users.bincount()[1:] - 1).clamp(min=0, max=most).sum())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--synthetic", action="store_true", help="on 1M made-up interactions")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data-path", help="folder that holds the data set's folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
