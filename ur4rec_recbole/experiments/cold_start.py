"""Cold start: how items that never occur in training are recommended from their content alone.

ur4rec cold-start --config-files properties/small.yaml      (or: make cold-start)

A tenth of the items is drawn, every interaction with them is taken out, and UR4Rec trains on the
rest without item ids. Then each removed interaction is predicted from its user's earlier
interactions with the other items: among the items taken out (a list of their own), among all, and
among all with a share of the places for new items. Popularity cannot tell such items apart: all
tie, so they are counted in random order.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction

from ur4rec_recbole.core.config import configuration
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import SECONDS, sort_exactly
from ur4rec_recbole.data.modalities import ITEM_TABLES, MORE_TABLES, item_tables
from ur4rec_recbole.datasets.table_output import write_columns
from ur4rec_recbole.evaluation import ranking
from ur4rec_recbole.model.content_knn import ContentKNN
from ur4rec_recbole.model.objective import item_counts
from ur4rec_recbole.runs.assembly import build_trainer, load_data

SETTINGS = {
    "use_item_id": False,
    "encoder_content": True,
    "new_item_offset": None,
    "rare_item_cost": 0.0,
    "rare_item_boost": None,
    "user_profile_table": None,  # its snapshots would name the items taken out
    "state": "ERROR",
    # They have been applied, and users who lose items must stay.
    "user_inter_num_interval": None,
    "item_inter_num_interval": None,
    "val_interval": None,
}
FIELDS = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp"}
TOP = 10
FIRST_SEED = 2020
# Of the data set that is written: RecBole reads ml-100k from its own package, not from data_path.
NAME = "cold_start"


class Split(NamedTuple):
    """Interactions as tokens: `warm` to learn from, `cold` with the items taken out."""

    warm: pd.DataFrame
    cold: pd.DataFrame


class Outcome(NamedTuple):
    """Hit rates at 10 on the cold interactions, each a mean over users [U].

    Attributes
    ----------
    among_cold, among_cold_random
        The candidates are the cold items.
    among_all, among_all_random, among_all_popular
        The candidates are all items but those of the history that the model sees.
    """

    among_cold: np.ndarray
    among_cold_random: np.ndarray
    among_all: np.ndarray
    among_all_random: np.ndarray
    among_all_popular: np.ndarray


class Seed(NamedTuple):
    """What a seed came to.

    Attributes
    ----------
    scored, mixed
        With new items as they are scored, and with an offset that gives them `new_item_share` of
        the places.
    content
        Of ContentKNN, which learns nothing; None without texts.
    known, known_mixed
        The validation metric, which is of known items, in both cases.
    """

    scored: Outcome
    mixed: Outcome
    content: Outcome | None
    known: float
    known_mixed: float


def split(interactions: pd.DataFrame, share: float, seed: int) -> Split:
    """Take a share of the items out of interactions (user_id, item_id, timestamp in seconds)."""
    items = np.sort(interactions["item_id"].unique())
    generator = np.random.default_rng(seed)
    chosen = generator.choice(items, max(1, round(share * len(items))), replace=False)
    cold = interactions["item_id"].isin(chosen)
    return Split(interactions[~cold], interactions[cold])


def _require_targets(found: Split, share: float) -> None:
    """Raise `InputError` where nobody had an item that was taken out after one that was not."""
    first = found.cold["user_id"].map(found.warm.groupby("user_id")["timestamp"].min())
    if not (found.cold["timestamp"] > first).any():
        raise InputError(
            f"--share {share}", "must take items out that somebody had after others",
            f"{len(found.cold)} interactions, none of them after another", "Raise or lower it.",
        )  # fmt: skip


def write_data(found: Split, folder: Path, name: str) -> None:
    """Write the warm interactions, and all items, as RecBole's atomic files."""
    write_columns(found.warm[list(FIELDS.values())], folder / name / f"{name}.inter")
    items = pd.concat([found.warm["item_id"], found.cold["item_id"]]).drop_duplicates()
    write_columns(items.to_frame(), folder / name / f"{name}.item")


def batch(config: Any, train: Any, found: Split) -> tuple[Interaction, torch.Tensor]:
    """Return a row [R] for each cold interaction with a history, and its target [R]."""
    length = config["MAX_ITEM_LIST_LENGTH"]
    histories = {
        user: (part["timestamp"].to_numpy(), train.token2id("item_id", list(part["item_id"])))
        for user, part in found.warm.sort_values("timestamp", kind="stable").groupby("user_id")
    }
    users, lists, when, asked, lengths, targets = [], [], [], [], [], []
    for user, item, time in found.cold[["user_id", "item_id", "timestamp"]].itertuples(index=False):
        if user not in histories:
            continue
        times, items = histories[user]
        until = np.searchsorted(times, time)
        known = slice(max(0, until - length), until)
        if not until:
            continue
        users.append(train.token2id("user_id", user))
        lengths.append(known.stop - known.start)
        lists.append(np.pad(items[known], (0, length - lengths[-1])))
        when.append(np.pad(times[known], (0, length - lengths[-1])))
        asked.append(time)
        targets.append(train.token2id("item_id", item))
    rows = {
        "user_id": torch.tensor(users),
        "item_id_list": torch.from_numpy(np.stack(lists)),
        f"{SECONDS}_list": torch.from_numpy(np.stack(when)).double(),
        SECONDS: torch.tensor(asked, dtype=torch.float64),
        "item_length": torch.tensor(lengths),
    }
    return Interaction(rows), torch.tensor(targets)


@torch.no_grad()
def measure(
    model: Any, rows: Interaction, targets: torch.Tensor, cold: torch.Tensor, counts: torch.Tensor
) -> Outcome:
    """Rank the target of each row among the cold items [C], and among all items.

    `counts` [N] are the training interactions of each item, by which popularity ranks.
    """
    model.eval()
    hits: dict[str, list[np.ndarray]] = {name: [] for name in Outcome._fields}
    for start in range(0, len(targets), 512):
        here = slice(start, start + 512)
        scores = ranking.score_all(model, rows[here].to(model.device)).cpu()
        among = torch.zeros_like(scores, dtype=torch.bool)
        among[:, cold] = True
        everything = torch.ones_like(among).scatter_(1, rows[here]["item_id_list"], False)
        everything[:, 0] = False
        for name, candidates in (("among_cold", among), ("among_all", everything)):
            hits[name].append(ranking.rank(scores, targets[here], candidates) <= TOP)
            count = candidates.sum(1).numpy()
            hits[f"{name}_random"].append(np.minimum(1.0, TOP / count))
        popular = counts.float().expand(len(scores), -1)
        hits["among_all_popular"].append(ranking.rank(popular, targets[here], everything) <= TOP)
    users = rows["user_id"].numpy()
    means = {name: _by_user(np.concatenate(values), users) for name, values in hits.items()}
    return Outcome(**means)


def _by_user(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    _, where = np.unique(users, return_inverse=True)
    return np.bincount(where, weights=values) / np.bincount(where)


def run_seed(
    files: Sequence[str], share: float, seed: int, dataset: str, new_item_share: float
) -> Seed:
    """Take items out, train without ids, and measure; then again with a share of the places."""
    whole = configuration("UR4Rec", dataset, files, {"state": "ERROR"})
    frame = create_dataset(whole)
    rows = sort_exactly(frame).inter_feat
    columns = {
        "user_id": frame.id2token(frame.uid_field, rows[frame.uid_field].to_numpy()),
        "item_id": frame.id2token(frame.iid_field, rows[frame.iid_field].to_numpy()),
        "timestamp": rows[SECONDS].to_numpy(),  # RecBole may have scaled its own
    }
    found = split(pd.DataFrame(columns), share, seed)
    _require_targets(found, share)
    with tempfile.TemporaryDirectory() as folder:
        write_data(found, Path(folder), NAME)
        listed = {"inter": list(FIELDS.values()), "item": ["item_id"]}
        settings = SETTINGS | FIELDS | {"data_path": folder, "load_col": listed, "seed": seed}
        tables = {name: str(file.path) for name, file in item_tables(whole).items()}
        settings |= {key: tables.pop(name, None) for name, key in ITEM_TABLES.items()}
        settings[MORE_TABLES] = tables or None
        settings["new_item_share"] = new_item_share
        config = configuration("UR4Rec", NAME, files, settings)
        train_data, valid_data, _ = load_data(config)
        trainer = build_trainer(config, train_data)
        known_mixed, _ = trainer.fit(train_data, valid_data, verbose=False, saved=False)
    train = train_data._dataset
    cold = torch.as_tensor(train.token2id("item_id", list(found.cold["item_id"].unique())))
    counts = item_counts(train)
    if counts[cold].any():
        raise RuntimeError("items that were taken out occur in training")
    asked = *batch(config, train, found), cold, counts
    mixed = measure(trainer.model, *asked)
    trainer.model.new_items.forget()
    known, _ = trainer._valid_epoch(valid_data)
    content = None
    if config["item_text_table"]:
        settings = FIELDS | {"item_text_table": config["item_text_table"], "state": "ERROR"}
        neighbours = ContentKNN(Config("ContentKNN", NAME, None, settings), train)
        content = measure(neighbours.to(config["device"]), *asked)
    return Seed(measure(trainer.model, *asked), mixed, content, known, known_mixed)
