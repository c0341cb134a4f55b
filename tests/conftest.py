"""Fixtures: a clean process for RecBole, toy data sets with known answers, and ML-100K's parts."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

import ur4rec_recbole  # noqa: F401  registers UR4Rec
from ur4rec_recbole.data.dataset import UR4RecDataset, sort_exactly, training_fingerprint
from ur4rec_recbole.data.features import FeatureTable

# A shell starts what runs in its background deaf to Ctrl-C, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Ten users; one with a single interaction, some shorter and some longer than the window of 5.
LENGTHS = (1, 2, 3, 4, 5, 7, 9, 11, 12, 14)
N_ITEMS = 20
# For tests that need a RecBole which starts before this package is imported.
recbole_alone = pytest.mark.skipif(
    np.__version__ >= "2" or sys.version_info >= (3, 12),
    reason="RecBole does not start by itself with numpy 2, or on Python 3.12, where it has no ray",
)

SMALL = {
    "hidden_size": 16,
    "inner_size": 32,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "expert_heads": 2,
    "expert_inner_size": 32,
    "expert_dropout_prob": 0.0,
    "n_proxy_tokens": 2,
    "MAX_ITEM_LIST_LENGTH": 5,
    "initializer_range": 0.3,
    "num_negatives": 5,
    "train_batch_size": 8,
    "eval_batch_size": 8,
    "epochs": 1,
    "topk": [5, 10],
    "state": "ERROR",
}


@pytest.fixture(scope="session", autouse=True)
def _own_arguments() -> Iterator[None]:
    """Keep pytest's flags from RecBole's Config, which reads --key=value from sys.argv."""
    before = sys.argv
    sys.argv = before[:1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.argv = before


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let RecBole write saved/, log/ and log_tensorboard/ where they are thrown away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    init_seed(7, True)


def sequences(lengths: Sequence[int] = LENGTHS, n_items: int = N_ITEMS) -> dict[str, list[str]]:
    """Return items by user in time order, the same on every call, each user's items distinct."""
    generator = np.random.default_rng(3)
    return {
        f"u{user}": [f"i{item}" for item in generator.permutation(np.arange(1, n_items + 1))[:n]]
        for user, n in enumerate(lengths, start=1)
    }


def write_atomic_files(
    folder: Path,
    histories: Mapping[str, Sequence[str]],
    items: Sequence[str] | None = None,
    name: str = "toy",
    moment: int = 1,
) -> None:
    """Write RecBole's .inter (users interleaved in time) and .item files.

    Each `moment` interactions in a row of a user share a time.
    """
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    longest = max(len(history) for history in histories.values())
    time, last = 1, {}
    for step in range(longest):
        for user, history in histories.items():
            if step < len(history):
                last[user] = last[user] if step % moment else time
                lines.append(f"{user}\t{history[step]}\t{last[user]}")
                time += 1
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if items is not None:
        (target / f"{name}.item").write_text("\n".join(["item_id:token", *items]) + "\n")


def make_table(
    kind: str,
    tokens: Sequence[str],
    width: int = 6,
    seed: int = 0,
    lengths: Sequence[int] | None = None,
    source: str = "none",
) -> FeatureTable:
    """Return a table of random vectors."""
    vectors = np.random.default_rng(seed).normal(size=(len(tokens), width)).astype(np.float32)
    provenance = {
        "kind": kind,
        "encoder": "random",
        "encoder_version": "1",
        "source_sha256": source,
        "split": "none",
    }
    return FeatureTable(
        np.array(tokens, dtype=str),
        vectors,
        provenance,
        None if lengths is None else np.array(lengths, dtype=np.int64),
    )


def make_profiles(train: UR4RecDataset, every: int = 2, seed: int = 5) -> FeatureTable:
    """Return snapshots after 1, 1 + every, ... training interactions of each user but the first."""
    rows = train.seen_rows()
    users = train.interactions[train.uid_field].numpy()[rows]
    tokens, lengths = [], []
    for user, count in zip(*np.unique(users, return_counts=True), strict=True):
        token = str(train.id2token(train.uid_field, user))
        if token == "u4":  # a user without any profile
            continue
        for length in range(1, count + 1, every):
            tokens.append(token)
            lengths.append(length)
    source = training_fingerprint(train)
    return make_table("user_profile", tokens, 4, seed, lengths, source)


@dataclass
class Toy:
    """A configured data set, its parts and loaders, and a model made when it is asked for."""

    config: Config
    dataset: Any
    loaders: tuple[Any, Any, Any]

    @property
    def train(self) -> UR4RecDataset:
        return self.loaders[0]._dataset

    @property
    def valid(self) -> UR4RecDataset:
        return self.loaders[1]._dataset

    @property
    def test(self) -> UR4RecDataset:
        return self.loaders[2]._dataset

    @cached_property
    def model(self) -> Any:
        return self.new_model()

    def new_model(self, seed: int = 11) -> Any:
        init_seed(seed, True)
        return get_model(self.config["model"])(self.config, self.train).eval()

    def new_trainer(self, model: Any = None) -> Any:
        kind = get_trainer(self.config["MODEL_TYPE"], self.config["model"])
        return kind(self.config, self.model if model is None else model)

    def rows(self, part: Any = None) -> Any:
        """Return all rows of a part (the validation part unless told)."""
        part = self.valid if part is None else part
        return part[np.arange(len(part))]

    def item_ids(self, tokens: Sequence[str]) -> np.ndarray:
        return self.train.token2id(self.train.iid_field, list(tokens))


@pytest.fixture
def toy(tmp_path: Path) -> Any:
    """Return a factory of `Toy`: histories by user, tables by key, any configuration key."""
    made = 0

    def build(
        histories: Mapping[str, Sequence[str]] | None = None,
        tables: Mapping[str, FeatureTable] | None = None,
        profiles: bool = False,
        items: Sequence[str] | None = None,
        model: str = "UR4Rec",
        moment: int = 1,
        **settings: Any,
    ) -> Toy:
        nonlocal made
        made += 1
        folder = tmp_path / f"data{made}"
        write_atomic_files(folder, histories or sequences(), items, moment=moment)
        values: dict[str, Any] = dict(SMALL) if model == "UR4Rec" else {"state": "ERROR"}
        values["data_path"] = str(folder)
        values["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
        if items is not None:
            values["load_col"]["item"] = ["item_id"]
        for key, table in (tables or {}).items():
            table.save(folder / f"{key}.npz")
            values[key] = str(folder / f"{key}.npz")
        config = Config(model=model, dataset="toy", config_dict=values | settings)
        init_seed(config["seed"], True)
        dataset = sort_exactly(create_dataset(config))
        found = Toy(config, dataset, data_preparation(config, dataset))
        if profiles:
            make_profiles(found.train).save(folder / "profiles.npz")
            config["user_profile_table"] = str(folder / "profiles.npz")
        return found

    return build


@pytest.fixture
def full_toy(toy: Any) -> Any:
    """Return a factory of toys with all three modalities, each with gaps."""

    def build(**settings: Any) -> Toy:
        text = make_table("item_text", [f"i{n}" for n in range(1, 16)], 6, 1)
        image = make_table("item_image", [f"i{n}" for n in range(5, 21)], 5, 2)
        tables = {"item_text_table": text, "item_image_table": image}
        return toy(tables=tables | settings.pop("tables", {}), profiles=True, **settings)

    return build


@pytest.fixture(scope="session")
def ml100k_config() -> Config:
    """Configuration of UR4Rec on ML-100K with all defaults."""
    return Config(model="UR4Rec", dataset="ml-100k", config_dict={"state": "ERROR"})


@pytest.fixture(scope="session")
def ml100k(ml100k_config: Config) -> tuple[UR4RecDataset, UR4RecDataset, UR4RecDataset]:
    """Training, validation and test parts of ML-100K. Not to be changed by a test."""
    return tuple(create_dataset(ml100k_config).build())


@pytest.fixture(scope="session")
def ml100k_file(ml100k_config: Config) -> Path:
    """The raw interactions that RecBole ships."""
    return Path(ml100k_config["data_path"]) / "ml-100k.inter"
