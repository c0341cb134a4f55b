"""A made-up data set of MovieLens-1M's size, to measure speed where no such data are at hand.

ur4rec benchmark --synthetic        (writes dataset/synthetic/ where it is not there yet)

It is synthetic: quality measured on it says nothing about recommending. Items belong to topics,
have long-tailed popularity and vectors that show their topic; a user likes some topics and goes
from one topic to its neighbour, so that there is an order to learn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.features import FeatureTable

NAME = "synthetic"
COLUMNS = {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "class"]}
WIDTH = 64  # of the text vectors
SHORTEST = 20  # interactions of a user, as in MovieLens-1M
NOISE_FOR_ALL = 10_000  # items: with more, noise for every item of every user takes minutes


@dataclass(frozen=True)
class Size:
    """Numbers of users, items, interactions and topics, and the seed of all draws."""

    n_users: int = 6000
    n_items: int = 4000
    n_interactions: int = 1_000_000
    n_topics: int = 40
    seed: int = 0


def location(folder: Path, size: Size | None = None) -> dict[str, Any]:
    """Write the data set if it is missing; return the settings by which RecBole reads all of it."""
    if not (folder / NAME / f"{NAME}.inter").exists():
        write(folder, size or Size())
    return {"data_path": str(folder), "load_col": COLUMNS}


def write(folder: Path, size: Size) -> Path:
    """Write synthetic.inter, synthetic.item and item_text.npz below `folder`/synthetic."""
    target = folder / NAME
    generator = np.random.default_rng(size.seed)
    topics = generator.permutation(np.arange(size.n_items) % size.n_topics)
    used = np.zeros(size.n_items, dtype=bool)
    with atomic_write(target / f"{NAME}.inter") as file:
        file.write(b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
        for user, items in enumerate(histories(size, topics, generator)):
            used[items] = True
            lines = (f"u{user}\ti{item}\t5\t{time}\n" for time, item in enumerate(items))
            file.write("".join(lines).encode())
    kept = np.flatnonzero(used)
    with atomic_write(target / f"{NAME}.item") as file:
        lines = (f"i{item}\ttopic{topics[item]}\n" for item in kept)
        file.write(("item_id:token\tclass:token_seq\n" + "".join(lines)).encode())
    vectors = generator.normal(size=(size.n_topics, WIDTH))[topics[kept]]
    vectors = (vectors + 0.5 * generator.normal(size=vectors.shape)).astype(np.float32)
    provenance = {"kind": "item_text", "encoder": "synthetic", "encoder_version": "1",
                  "source_sha256": "none", "split": "none"}  # fmt: skip
    tokens = np.array([f"i{item}" for item in kept])
    FeatureTable(tokens, vectors, provenance).save(target / "item_text.npz")
    return target


def histories(
    size: Size, topics: np.ndarray, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield each user's distinct items in time order."""
    weight = -0.8 * np.log(1 + generator.permutation(size.n_items))  # log popularity, long-tailed
    draw = _by_noise if size.n_items <= NOISE_FOR_ALL else _one_by_one
    items = _Items(topics, weight)
    for length in lengths(size, generator):
        taste = generator.normal(scale=1.5, size=size.n_topics)
        chosen = draw(items, taste, length, generator)
        start = generator.integers(size.n_topics)
        place = (topics[chosen] - start) % size.n_topics
        yield chosen[np.argsort(place + generator.normal(scale=1.0, size=length))]


class _Items:
    """Items, in proportion to exp(weight + taste of their topic) of which a user is drawn some."""

    def __init__(self, topics: np.ndarray, weight: np.ndarray) -> None:
        self.topics, self.weight = topics, weight
        self.order = np.argsort(topics, kind="stable")
        self.reached = np.exp(weight[self.order]).cumsum()  # of the items, topic after topic
        self.ends = self.reached[np.bincount(topics).cumsum() - 1]
        self.starts = np.r_[0.0, self.ends[:-1]]


def _by_noise(
    items: _Items, taste: np.ndarray, length: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw without replacement: the largest sums with Gumbel noise, drawn for every item."""
    noise = generator.gumbel(size=len(items.weight))
    return np.argpartition(-(items.weight + taste[items.topics] + noise), length - 1)[:length]


def _one_by_one(
    items: _Items, taste: np.ndarray, length: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw the same by topic and item, passing over what comes a second time."""
    share = np.exp(taste) * (items.ends - items.starts)
    found = np.zeros(0, dtype=np.int64)
    while len(found) < length:
        topic = generator.choice(len(taste), 2 * length, p=share / share.sum())
        point = generator.uniform(items.starts[topic], items.ends[topic])
        place = np.searchsorted(items.reached, point, side="right")
        drawn = np.r_[found, items.order[np.minimum(place, len(items.order) - 1)]]
        _, first = np.unique(drawn, return_index=True)
        found = drawn[np.sort(first)]
    return found[:length]


def lengths(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Draw the users' numbers of interactions, which add up to what `size` says."""
    raw = generator.lognormal(sigma=1.0, size=size.n_users)
    longest = size.n_items // 2
    low, high = 0.0, float(size.n_interactions)
    for _ in range(100):  # the factor that gives the wanted sum
        factor = (low + high) / 2
        found = np.clip(factor * raw, SHORTEST, longest).astype(np.int64)
        low, high = (factor, high) if found.sum() < size.n_interactions else (low, factor)
    found = np.clip(low * raw, SHORTEST, longest).astype(np.int64)
    growing = np.flatnonzero(found < longest)
    found[growing[: size.n_interactions - found.sum()]] += 1
    return found
