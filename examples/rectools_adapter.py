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
import functools
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

LISTED, CHUNK = 10, 1024  # length of a list that validates; rows scored at a time
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

    def chunks(self) -> list[tuple["Rows", int, int]]:
        """Return these rows with the bounds of each chunk of them."""
        firsts = range(0, self.number, CHUNK)
        return [(self, first, min(first + CHUNK, self.number)) for first in firsts]


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

    @functools.cache
    def prepare(rows: Rows, first: int, last: int) -> tuple[list, np.ndarray, np.ndarray]:
        """Return batches, users and items, each row as a user: the same in every epoch."""
        users, held = np.arange(first, last), slice(rows.bounds[first], rows.bounds[last])
        user = np.repeat(users, np.diff(rows.bounds[first : last + 1]))
        asked = frame(users, np.zeros(len(users)), rows.request[first:last])
        data = model.data_preparator.transform_dataset_u2i(
            Dataset.construct(frame(user, rows.items[held], rows.times[held])), users,
            asked if model.require_recommend_context else None,
        )  # fmt: skip
        batches = list(model.data_preparator.get_dataloader_recommend(data, CHUNK))
        return batches, data.user_id_map.external_ids, data.item_id_map.external_ids

    @torch.no_grad()
    def score(rows: Rows, first: int, last: int) -> np.ndarray:
        """Do what `recommend` does, which takes minutes to make tables of all items."""
        batches, users, names = prepare(rows, first, last)
        states, items = model.lightning_model._get_user_item_embeddings(batches, None)
        known = model.data_preparator.get_known_items_sorted_internal_ids()
        similarity = model.lightning_model.torch_model.similarity_module
        found = similarity(states.to(items.device), items[known]).cpu().numpy()
        scores = np.full((last - first, rows.n_items), -np.inf, dtype=np.float32)
        scores[np.ix_(users.astype(int) - first, names[known].astype(int))] = found
        return scores

    while True:
        began = time.perf_counter()
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        seconds = time.perf_counter() - began
        if stop.ends_after(best_lists(score, valid), model.lightning_model.torch_model, seconds):
            break
    model.lightning_model.torch_model.load_state_dict(stop.weights)
    return score


def best_lists(score: Callable, rows: Rows) -> np.ndarray:
    """Return the best items of each row that are not in its history, [R, 10]."""
    lists = []
    for chunk in rows.chunks():
        scores = score(*chunk)
        for place, row in enumerate(range(*chunk[1:])):
            scores[place, rows.history(row)] = -np.inf
        lists.append(torch.from_numpy(scores).topk(LISTED).indices.numpy())
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
        scores = [score(*chunk) for chunk in Rows(split, part).chunks()]
        np.save(folder / f"{part}.npy", np.concatenate(scores))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
