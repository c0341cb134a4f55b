"""Planted-signal data: small data sets in which one known thing decides the next item.

Every item has a text class and, independently, an image class; each user follows one rule:

| signal  | the next item is                                                                  |
|---------|-----------------------------------------------------------------------------------|
| text    | any item whose text class follows the last item's: c -> c + 1 (mod classes)        |
| image   | the same by image class                                                           |
| profile | any item of the text class that the user's newest profile names, a new one a step  |
| order   | the one item that follows the last one in a fixed cycle of all items               |

So a model that reads the right modality finds the next item among n_items / n_classes, and one that
does not has ids alone, of which it sees few. Used by tests, and to try a set-up of your own:

python -m ur4rec_recbole.datasets.planted --signal image --folder dataset/planted
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recbole.config import Config

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.dataset import UR4RecDataset, training_fingerprint
from ur4rec_recbole.data.features import FeatureTable

SIGNALS = ("text", "image", "profile", "order")
SIDE = 8  # images are SIDE x SIDE pixels
WIDTH = 64  # of text and profile vectors
NOISE = 0.3  # their deviation from their class's own vector, whose elements have deviation 1


@dataclass(frozen=True)
class Planted:
    """Sizes of a planted data set; the defaults train in well under a minute.

    Attributes
    ----------
    signal
        One of `SIGNALS`.
    n_users, n_items, n_classes, length
        Users, items, classes of texts and of images, interactions a user.
    seed
        Seed of all random draws.
    """

    signal: str
    n_users: int = 400
    n_items: int = 2000
    n_classes: int = 100
    length: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise InputError(
                "signal", f"must be one of {SIGNALS}", repr(self.signal), "Choose one."
            )


@dataclass(frozen=True)
class World:
    """The drawn data: the items' classes, and each user's items and the classes of the profiles.

    Attributes
    ----------
    text_class, image_class
        [n_items].
    items
        [n_users, length], distinct within a user.
    told
        [n_users, length], the class that a profile names after that many interactions.
    """

    text_class: np.ndarray
    image_class: np.ndarray
    items: np.ndarray
    told: np.ndarray


def draw(planted: Planted) -> World:
    """Draw classes and sequences."""
    generator = np.random.default_rng(planted.seed)
    classes = np.arange(planted.n_items) % planted.n_classes
    text_class, image_class = generator.permutation(classes), generator.permutation(classes)
    following = np.roll(cycle := generator.permutation(planted.n_items), -1)
    successor = np.empty(planted.n_items, dtype=np.int64)
    successor[cycle] = following
    told = generator.integers(planted.n_classes, size=(planted.n_users, planted.length))
    items = np.empty((planted.n_users, planted.length), dtype=np.int64)
    for user in range(planted.n_users):
        items[user, 0] = generator.integers(planted.n_items)
        for step in range(1, planted.length):
            last = items[user, step - 1]
            if planted.signal == "order":
                items[user, step] = successor[last]
                continue
            by = image_class if planted.signal == "image" else text_class
            wanted = (by[last] + 1) % planted.n_classes
            if planted.signal == "profile":
                wanted = told[user, step - 1]
            fitting = np.setdiff1d(np.flatnonzero(by == wanted), items[user, :step])
            items[user, step] = generator.choice(fitting)
    return World(text_class, image_class, items, told)


def write(planted: Planted, folder: Path, images: bool = False) -> Path:
    """Write atomic files and feature tables below `folder`/planted; return that folder.

    Parameters
    ----------
    planted
        Signal and sizes.
    folder
        To be given to RecBole as `data_path`, with `dataset: planted`.
    images
        Whether to write the images as PNG files too (needs Pillow).
    """
    world = draw(planted)
    target = Path(folder) / "planted"
    generator = np.random.default_rng([planted.seed, 1])
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, history in enumerate(world.items):
        lines += [f"u{user}\ti{item}\t{step}" for step, item in enumerate(history)]
    with atomic_write(target / "planted.inter") as file:
        file.write(("\n".join(lines) + "\n").encode())
    used = np.unique(world.items)  # an item that nobody has had is not in the data set
    tokens = np.array([f"i{item}" for item in used])
    text = _noisy_classes(world.text_class[used], planted.n_classes, generator)
    FeatureTable(tokens, text, _provenance("item_text")).save(target / "item_text.npz")
    pixels = _draw_images(world.image_class[used], planted.n_classes, generator)
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
    FeatureTable(tokens, flat, _provenance("item_image")).save(target / "item_image.npz")
    if images:
        _write_images(pixels, tokens, target / "images")
    _profile_table(planted, world, folder, generator).save(target / "user_profile.npz")
    return target


def _noisy_classes(
    classes: np.ndarray, n_classes: int, generator: np.random.Generator
) -> np.ndarray:
    """Return the class's own random vector with noise, [len(classes), WIDTH]."""
    vectors = generator.normal(size=(n_classes, WIDTH))[classes]
    return (vectors + NOISE * generator.normal(size=vectors.shape)).astype(np.float32)


def _draw_images(classes: np.ndarray, n_classes: int, generator: np.random.Generator) -> np.ndarray:
    """Draw images [n, SIDE, SIDE, 3] uint8: a noisy picture of the class's own pattern."""
    patterns = generator.integers(256, size=(n_classes, SIDE, SIDE, 3))
    noise = generator.normal(scale=40, size=(len(classes), SIDE, SIDE, 3))
    return np.clip(patterns[classes] + noise, 0, 255).astype(np.uint8)


def _write_images(pixels: np.ndarray, tokens: np.ndarray, folder: Path) -> None:
    from PIL import Image

    for token, image in zip(tokens, pixels, strict=True):
        with atomic_write(folder / f"{token}.png") as file:
            Image.fromarray(image).save(file, format="PNG")


def _profile_table(
    planted: Planted, world: World, folder: Path, generator: np.random.Generator
) -> FeatureTable:
    """Make a snapshot after every training interaction, which names its class."""
    settings = {"data_path": str(folder), "train_neg_sample_args": None, "state": "ERROR",
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}  # fmt: skip
    train = UR4RecDataset(Config("SASRec", "planted", config_dict=settings)).build()[0]
    available = planted.length - 2  # leave-one-out keeps the last two
    users = np.repeat(np.arange(planted.n_users), available)
    lengths = np.tile(np.arange(1, available + 1), planted.n_users)
    vectors = _noisy_classes(world.told[users, lengths - 1], planted.n_classes, generator)
    provenance = _provenance("user_profile") | {"source_sha256": training_fingerprint(train)}
    tokens = np.array([f"u{user}" for user in users])
    return FeatureTable(tokens, vectors, provenance, lengths)


def _provenance(kind: str) -> dict[str, object]:
    return {
        "kind": kind,
        "encoder": "planted",
        "encoder_version": "1",
        "source_sha256": "none",
        "split": "training part of LS: valid_and_test" if kind == "user_profile" else "none",
    }


def main() -> int:
    """Write a planted data set as the command line says."""
    parser = argparse.ArgumentParser(description="Write a data set with a planted signal.")
    parser.add_argument("--signal", choices=SIGNALS, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="RecBole's data_path")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", action="store_true", help="write PNG files too")
    options = parser.parse_args()
    planted = Planted(options.signal, seed=options.seed)
    with settings_from():
        print(write(planted, options.folder, options.images))
    return 0


if __name__ == "__main__":
    sys.exit(main())
