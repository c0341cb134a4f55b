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
        print(json.dumps({"epoch": self.epoch, "ndcg@10": score, "seconds": seconds}), flush=True)
        if score > self.best:
            self.best, self.at = score, self.epoch
            self.weights = copy.deepcopy(network.state_dict())
        self.epoch += 1
        return self.epoch >= self.epochs or self.epoch - self.at > self.patience


def fit_transformer(split: Any, options: dict[str, Any], stop: BestSoFar, valid: Rows) -> Callable:
    """Train SASRec or HSTU an epoch at a time; return what scores rows first to last."""
    model = MODELS[options.pop("model")](**options)
    train = Dataset.construct(frame(split["users"], split["items"], split["times"]))

    @torch.no_grad()
    def score(rows: Rows, first: int, last: int) -> np.ndarray:
        """Do what `recommend` does, which takes minutes to make tables of all items."""
        held, asked = rows.frames(first, last)
        prepared, network = model.data_preparator, model.lightning_model
        data = prepared.transform_dataset_u2i(
            Dataset.construct(held), np.arange(first, last),
            asked if model.require_recommend_context else None,
        )  # fmt: skip
        batches = prepared.get_dataloader_recommend(data, CHUNK)
        states, items = network._get_user_item_embeddings(batches, None)
        known = prepared.get_known_items_sorted_internal_ids()
        found = network.torch_model.similarity_module(states.to(items.device), items[known])
        users, named = data.user_id_map.external_ids, data.item_id_map.external_ids[known]
        scores = np.full((last - first, rows.n_items), -np.inf, dtype=np.float32)
        scores[np.ix_(users.astype(int) - first, named.astype(int))] = found.cpu().numpy()
        return scores

    while True:
        began = time.perf_counter()
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        seconds = time.perf_counter() - began
        if stop.ends_after(best_lists(score, valid), model.lightning_model.torch_model, seconds):
            break
    model.lightning_model.torch_model.load_state_dict(stop.weights)
    return score


def chunks(number: int) -> list[tuple[int, int]]:
    """Return the bounds of chunks of rows."""
    return [(first, min(first + CHUNK, number)) for first in range(0, number, CHUNK)]


def best_lists(score: Callable, rows: Rows) -> np.ndarray:
    """Return the best items of each row that are not in its history, [R, 10]."""
    lists = []
    for first, last in chunks(rows.number):
        scores = score(rows, first, last)
        for row in range(first, last):
            scores[row - first, rows.history(row)] = -np.inf
        lists.append(np.argsort(-scores, axis=1, kind="stable")[:, :LISTED])
    return np.concatenate(lists)


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
