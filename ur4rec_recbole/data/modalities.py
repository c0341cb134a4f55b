"""Loads the configured tables as tensors in RecBole's id order, for the model's experts."""

import re
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.profiles import ProfileIndex, profile_index

ITEM_TABLES = {"text": "item_text_table", "image": "item_image_table"}
MORE_TABLES = "item_tables"  # of modalities that have no key of their own, by name
PROFILE_TABLE = "user_profile_table"


class TableFile(NamedTuple):
    """Where a table lies, and how messages name it: the key that it is configured by."""

    key: str
    path: Path


class Scaling(NamedTuple):
    """Scales vectors [R, W] as a table was scaled: (x - mean) directions / divisor * factor.

    Attributes
    ----------
    mean, divisor
        [W], and [W] or as many as there are directions.
    directions
        [W, directions], or None to keep the dimensions.
    factor
        A number.
    """

    mean: np.ndarray
    divisor: np.ndarray
    directions: np.ndarray | None = None
    factor: float = 1.0

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Return scaled vectors, [R, W] float32; dimensions without a direction are zero."""
        rows = vectors.astype(np.float64) - self.mean
        if self.directions is not None:
            rows = rows @ self.directions
        scaled = np.zeros(vectors.shape, dtype=np.float32)
        scaled[:, : rows.shape[1]] = rows / self.divisor * self.factor
        return scaled


class Origin(NamedTuple):
    """Where the vectors of a modality come from, so that those of a new item can be made alike.

    Attributes
    ----------
    scaling
        None where vectors were left as they are.
    encoder, version
        What wrote the table, "" where unknown.
    """

    scaling: Scaling | None = None
    encoder: str = ""
    version: str = ""


class ItemFeatures(NamedTuple):
    """One modality of all items: vectors [N, W] float32, present [N] bool, and their origin."""

    vectors: torch.Tensor
    present: torch.Tensor
    origin: Origin = Origin()


class Modalities(NamedTuple):
    """All feature tables of a run; a modality without a table is left out."""

    items: dict[str, ItemFeatures]
    profile: ProfileIndex | None


def load_modalities(config: Any, dataset: UR4RecDataset) -> Modalities:
    """Load, check and align the tables named in the configuration."""
    unknown_allowed = bool(config["allow_unknown_tokens"])
    items = {}
    named = item_tables(config)
    for name, key in ITEM_TABLES.items():
        if name not in named:
            getLogger().info(f"{key} is not set: the modality is masked.")
    for name, file in named.items():
        table = _load(file, f"item_{name}")
        tokens = dataset.field2id_token[dataset.iid_field]
        vectors, present = table.align(tokens, unknown_allowed)
        scaling = fit_scaling(vectors[present], config["feature_scaling"])
        if scaling is not None:
            vectors[present] = scaling.apply(vectors[present])
        told = (str(table.provenance[key]) for key in ("encoder", "encoder_version"))
        origin = Origin(scaling, *told)
        items[name] = ItemFeatures(torch.from_numpy(vectors), torch.from_numpy(present), origin)
    path = table_path(config, PROFILE_TABLE)
    profile = None
    if path is None:
        getLogger().info(f"{PROFILE_TABLE} is not set: the modality is masked.")
    else:
        profiles = _load(TableFile(PROFILE_TABLE, path), "user_profile")
        profile = profile_index(profiles, dataset, unknown_allowed)
        rows = profile.vectors.numpy()
        present = np.arange(len(rows)) > 0
        scaled = scale(rows, present, config["feature_scaling"])
        profile = profile._replace(vectors=torch.from_numpy(scaled))
    return Modalities(items, profile)


def scale(vectors: np.ndarray, present: np.ndarray, method: str | None) -> np.ndarray:
    """Scale present rows so that every dimension has mean 0 and, over the table, unit variance.

    Parameters
    ----------
    vectors, present
        [N, W] and [N].
    method
        "standardize": dimension by dimension. "scale": all dimensions by one number, so that
        cosines stay what they are. "whiten": also decorrelated, by PCA with the
        directions below 1e-3 of the largest variance left out (set to zero). None: as they are.
    """
    scaling = fit_scaling(vectors[present], method)
    if scaling is None:
        return vectors
    scaled = np.zeros_like(vectors)
    scaled[present] = scaling.apply(vectors[present])
    return scaled


def fit_scaling(vectors: np.ndarray, method: str | None) -> Scaling | None:
    """Return what scales vectors [R, W] by a method of `scale`; None where nothing is scaled."""
    if method is None or len(vectors) < 2:
        return None
    rows = vectors.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    if method == "scale":
        size = max(float(np.sqrt(np.mean(rows**2))), 1e-8)
        return Scaling(mean, np.full(rows.shape[1], size))
    if method == "standardize":
        deviation = rows.std(axis=0)
        return Scaling(mean, np.where(deviation > 1e-8, deviation, 1.0))
    if method == "whiten":
        _, singular, directions = np.linalg.svd(rows, full_matrices=False)
        kept = singular > 1e-3**0.5 * singular[0]
        return Scaling(mean, singular[kept], directions[kept].T, len(rows) ** 0.5)
    raise InputError(
        "feature_scaling", "must be standardize, scale, whiten or ~", repr(method),
        "Correct it in the YAML file.",
    )  # fmt: skip


def table_path(config: Any, key: str) -> Path | None:
    """Return where the table of a key lies: as given, or else as the package ships it."""
    return None if config[key] is None else _find(config[key], config)


def item_tables(config: Any) -> dict[str, TableFile]:
    """Return the item tables that a configuration names, by modality.

    Text and image have keys of their own; `item_tables` names those of any other modality.
    """
    more = config[MORE_TABLES] or {}
    check_more_tables(more)
    given = {name: (key, config[key]) for name, key in ITEM_TABLES.items()}
    given |= {name: (f"{MORE_TABLES}: {name}", value) for name, value in more.items()}
    return {
        name: TableFile(key, _find(value, config))
        for name, (key, value) in given.items()
        if isinstance(value, str)
    }


def check_more_tables(more: Mapping[Any, Any]) -> None:
    """Raise `InputError` for a modality that cannot have that name, or a table that is no path."""
    for name, value in more.items():
        free = isinstance(name, str) and re.fullmatch("[a-z][a-z0-9_]*", name)
        if not free or name in (*ITEM_TABLES, "profile", "id") or hasattr(nn.ModuleDict, name):
            raise InputError(
                f"{MORE_TABLES}: {name}", "must be a name of small letters that is not taken",
                repr(name), "Call it audio, say; text and image have keys of their own.",
            )  # fmt: skip
        if not isinstance(value, str | None):
            raise InputError(
                f"{MORE_TABLES}: {name}", "must be the path of a table, or ~", repr(value),
                "Write for example {audio: dataset/shop/item_audio.npz}.",
            )  # fmt: skip


def _find(path: str, config: Any) -> Path:
    return find_file(path.replace("{dataset}", config["dataset"]))


def _load(file: TableFile, kind: str) -> FeatureTable:
    table = FeatureTable.load(file.path)
    if table.provenance["kind"] != kind:
        raise InputError(
            file.key, f"must name a table of kind {kind}", table.provenance["kind"],
            "Swap the tables or make this one again.",
        )  # fmt: skip
    return table
