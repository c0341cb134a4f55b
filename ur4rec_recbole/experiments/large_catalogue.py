"""Seconds a step and peak memory by the number of items, beside RecBole's SASRec.

python -m ur4rec_recbole.experiments.large_catalogue
python -m ur4rec_recbole.experiments.large_catalogue --sizes ml-20m --models UR4Rec --epoch

On made-up data (datasets/synthetic.py), written below --folder where they are not there yet. A step
has 32 windows of 50 (--windows), at most 1,600 positions, by the sizes of the small preset with
losses over 300 drawn items; SASRec's has as many sequences with its loss over all items. With
--epoch an epoch of the encoder's stage is trained whole. Each measurement is a process of its own,
whose peak includes reading and preparing the data.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.memory import peak_memory
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.datasets.synthetic import NAME, Size, location
from ur4rec_recbole.evaluation.ranking import items_kept
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.runs.doctor import take_step

# More items than the name says: some are drawn by no user, and left out.
SIZES = {
    "10k": Size(n_users=2_000, n_items=10_000, n_interactions=1_000_000),
    "100k": Size(n_users=4_000, n_items=115_000, n_interactions=2_000_000),
    "1m": Size(n_users=12_000, n_items=1_250_000, n_interactions=6_000_000),
    "ml-20m": Size(n_users=138_000, n_items=27_000, n_interactions=20_000_000),
}
MODULE = "ur4rec_recbole.experiments.large_catalogue"
WINDOW = 50
STEPS = 30
LOGITS_HELD = 4  # [P, N] tensors of a plain softmax and its gradient
MOST_MEMORY = 16e9  # bytes; SASRec is left out where it needs more
COMMON = {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
          "train_neg_sample_args": None, "state": "ERROR", "MAX_ITEM_LIST_LENGTH": WINDOW,
          "eval_batch_size": 256}  # fmt: skip
OURS = {"retrieval_loss": "sampled_softmax",
        "num_negatives": 300, "user_profile_table": None,
        "shuffle_gap": None, "time_intervals": False}  # fmt: skip
THEIRS = {"n_layers": 2, "n_heads": 2, "hidden_size": 64, "inner_size": 256,
          "loss_type": "CE"}  # fmt: skip


def steps(trainer: Any, data: Any) -> tuple[float, float]:
    """Return the median seconds of a step, and the mean number of positions."""
    trainer.model.train()
    taken, positions = [], []
    began = time.perf_counter()
    for batch in itertools.islice(data, STEPS):
        take_step(trainer, batch)
        taken.append(time.perf_counter() - began)  # making the batch included
        began = time.perf_counter()
        whole = getattr(data._dataset, "predicts_all_positions", False)
        positions.append(int(batch["item_length"].sum()) if whole else len(batch))
    return statistics.median(taken), statistics.mean(positions)


@torch.no_grad()
def evaluation(trainer: Any, data: Any) -> tuple[float, int]:
    """Return the seconds that a batch of validation rows takes to the best 20 items, and its size.

    RecBole's batches; data sets of ours keep them so small that [B, N] stays within bounds.
    """
    trainer.model.eval()
    taken = []
    with items_kept(trainer.model):
        for batch, *_ in itertools.islice(data, 3):
            began = time.perf_counter()
            scores = trainer.model.full_sort_predict(batch.to(trainer.device))
            scores.view(len(batch), -1).topk(20)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken), len(batch)


def measure(size: str, model: str, options: argparse.Namespace) -> None:
    """Print the lines of one size and model."""
    where = location(options.folder / size, SIZES[size])["data_path"]
    settings = {**COMMON, "data_path": where, **(OURS if model == "UR4Rec" else THEIRS)}
    settings["train_batch_size"] = options.windows * (1 if model == "UR4Rec" else WINDOW)
    if model == "UR4Rec":
        settings["sequence_loss"] = options.loss
        settings["item_text_table"] = f"{where}/{NAME}/item_text.npz"
    files = [str(find_file("properties/small.yaml"))] if model == "UR4Rec" else None
    with settings_from():
        config = Config(model, NAME, config_file_list=files, config_dict=settings)
    began = time.perf_counter()
    data, valid, _ = load_data(config)
    seconds, read = time.perf_counter() - began, peak_memory() / 1e9
    items = f"{data._dataset.item_num - 1:10,}"
    print(
        f"{items}  read and prepared in {seconds:.0f} s, peak {read:.1f} GB; "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )
    trainer = build_trainer(config, data)
    for stage in trainer.stages if model == "UR4Rec" else [None]:
        if stage:
            trainer._begin(stage)
        taken, positions = steps(trainer, data)
        epoch = taken * len(data) / 60
        print(
            f"{items}  {model:7}{stage.name if stage else 'softmax':19}{taken:8.3f} s a step of "
            f"{positions:,.0f} positions, {len(data):,} steps: {epoch:,.1f} min an epoch "
            f"(estimate), peak {peak_memory() / 1e9:.1f} GB",
            flush=True,
        )
    if options.epoch:
        began = time.perf_counter()
        if model == "UR4Rec":
            trainer._begin(trainer.stages[0])
        trainer._train_epoch(data, 0)
        print(f"{items}  {model:7}an epoch of {(time.perf_counter() - began) / 60:.1f} min, peak "
              f"{peak_memory() / 1e9:.1f} GB", flush=True)  # fmt: skip
    taken, rows = evaluation(trainer, valid)
    print(f"{items}  {model:7}evaluation of {rows} rows {taken:.2f} s, peak "
          f"{peak_memory() / 1e9:.1f} GB", flush=True)  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["10k", "100k", "1m"])
    parser.add_argument("--models", nargs="+", default=["UR4Rec", "SASRec"])
    parser.add_argument("--loss", default="sampled_softmax", help="of UR4Rec's sequence score")
    parser.add_argument("--folder", type=Path, default=Path("dataset/large"))
    parser.add_argument("--windows", type=int, default=32, help="of 50 positions, a step")
    parser.add_argument("--epoch", action="store_true", help="also train one of the first stage")
    parser.add_argument("--here", action="store_true", help="in this process, not one each")
    options = parser.parse_args()
    for size, model in itertools.product(options.sizes, options.models):
        logits = LOGITS_HELD * 4 * options.windows * WINDOW * SIZES[size].n_items
        if model == "SASRec" and logits > MOST_MEMORY:
            print(f"{size}: SASRec is left out: its softmax holds {logits / 1e9:.0f} GB")
        elif options.here:
            measure(size, model, options)
        else:
            words = [*sys.argv[1:], "--sizes", size, "--models", model, "--here"]
            subprocess.run([sys.executable, "-m", MODULE, *words], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
