"""Trains SASRec or HSTU of RecTools on a split that a benchmark exports, and scores its rows.

An entry of a plan names this file (docs/benchmark.md); it runs in an environment of its own, which
knows RecTools and not this package. Copy it for another library: read FOLDER/split.npz and
options.json, print a line of JSON after each epoch, write valid.npy and test.npy.

split.npz            internal ids, 0 is padding; a row is a user at one moment
  n_items            [] N, padding included
  users items times  [I] training interactions, by user and time; times in seconds
  valid/bounds       [R + 1] where the history of each row begins and ends in
  valid/items times  [H]
  valid/request      [R] when the recommendation is asked for
  valid/targets      [R] what comes next: to stop early by, never to train on
  test/...           the same without targets
  text               [N, W] vectors of the items' texts, where the entry names a table
valid.npy test.npy   [R, N] float32 scores; -inf for an item that cannot be scored
"""

import copy
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import HSTUModel, SASRecModel

LISTED, CHUNK = 10, 256  # length of a list that validates; rows scored at a time
MODELS = {"SASRec": SASRecModel, "HSTU": HSTUModel}


class Rows:
    """The rows of one part: whose history, asked when."""

    def __init__(self, split: Any, part: str) -> None:
        self.bounds, self.items = split[f"{part}/bounds"], split[f"{part}/items"]
        self.times, self.request = split[f"{part}/times"], split[f"{part}/request"]
        self.number, self.n_items = len(self.request), int(split["n_items"])

    def history(self, row: int) -> np.ndarray:
        """Return the items of a row, the oldest first."""
        return self.items[self.bounds[row] : self.bounds[row + 1]]

    def frames(self, first: int, last: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return interactions and request times of some rows, each row as a user of its own."""
        row = np.repeat(np.arange(first, last), np.diff(self.bounds[first : last + 1]))
        held = slice(self.bounds[first], self.bounds[last])
        asked = frame(np.arange(first, last), np.zeros(last - first), self.request[first:last])
        return frame(row, self.items[held], self.times[held]), asked


def frame(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> pd.DataFrame:
    """Return interactions as RecTools takes them."""
    values = {Columns.User: users, Columns.Item: items.astype(int), Columns.Weight: 1.0}
    return pd.DataFrame(values | {Columns.Datetime: pd.to_datetime(times, unit="s")})


class BestSoFar:
    """Keeps the best weights by validation NDCG@10 and says when to stop."""

    def __init__(self, targets: np.ndarray, epochs: int, patience: int) -> None:
        self.targets, self.epochs, self.patience = targets, epochs, patience
        self.epoch, self.best, self.at, self.weights = 0, -1.0, 0, {}

    def ends_after(self, lists: np.ndarray, network: torch.nn.Module, seconds: float) -> bool:
        """Take an epoch's lists [R, 10] and time; return whether it was the last one."""
        hit = lists == self.targets[:, None]
        score = float((hit / np.log2(np.arange(lists.shape[1]) + 2)).sum(1).mean())
        row = {"epoch": self.epoch, "ndcg@10": score, "seconds": seconds}
        print(json.dumps(row), flush=True)
        if score > self.best:
            self.best, self.at = score, self.epoch
            self.weights = copy.deepcopy(network.state_dict())
        self.epoch += 1
        return self.epoch >= self.epochs or self.epoch - self.at > self.patience


def fit_transformer(split: Any, options: dict[str, Any], stop: BestSoFar, valid: Rows) -> Callable:
    """Train SASRec or HSTU an epoch at a time; return what scores rows first to last."""
    model = MODELS[options.pop("model")](**options)
    train = Dataset.construct(frame(split["users"], split["items"], split["times"]))

    def recommend(rows: Rows, first: int, last: int, k: int, masked: bool) -> pd.DataFrame:
        held, asked = rows.frames(first, last)
        context = {"context": asked} if model.require_recommend_context else {}
        return model.recommend(
            np.arange(first, last), Dataset.construct(held), k, masked,
            on_unsupported_targets="ignore", **context,
        )  # fmt: skip

    while True:
        began = time.perf_counter()
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        seconds = time.perf_counter() - began
        found = recommend(valid, 0, valid.number, LISTED, True)
        lists = np.zeros((valid.number, LISTED), dtype=int)
        lists[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
        if stop.ends_after(lists, model.lightning_model.torch_model, seconds):
            break
    model.lightning_model.torch_model.load_state_dict(stop.weights)

    def score(rows: Rows, first: int, last: int) -> np.ndarray:
        found = recommend(rows, first, last, rows.n_items, False)
        scores = np.full((last - first, rows.n_items), -np.inf, dtype=np.float32)
        scores[found[Columns.User] - first, found[Columns.Item]] = found[Columns.Score]
        return scores

    return score


def chunks(number: int) -> list[tuple[int, int]]:
    """Return the bounds of chunks of rows."""
    return [(first, min(first + CHUNK, number)) for first in range(0, number, CHUNK)]


def main(folder: Path, fit: Callable = fit_transformer) -> None:
    """Train as the options say and write the scores of both parts."""
    warnings.filterwarnings("ignore")
    split = np.load(folder / "split.npz")
    options = json.loads((folder / "options.json").read_text())
    pl.seed_everything(options.pop("seed"))
    limits = options.pop("epochs", 300), options.pop("patience", 10)
    score = fit(split, options, BestSoFar(split["valid/targets"], *limits), Rows(split, "valid"))
    for part in ("valid", "test"):
        rows = Rows(split, part)
        scores = [score(rows, first, last) for first, last in chunks(rows.number)]
        np.save(folder / f"{part}.npy", np.concatenate(scores))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
