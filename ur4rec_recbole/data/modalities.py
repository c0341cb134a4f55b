"""Loads the configured tables as tensors in RecBole's id order, for the model's experts."""

from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.profiles import ProfileIndex, profile_index

ITEM_TABLES = {"text": "item_text_table", "image": "item_image_table"}
PROFILE_TABLE = "user_profile_table"


class ItemFeatures(NamedTuple):
    """One modality of all items: vectors [N, W] float32 and present [N] bool."""

    vectors: torch.Tensor
    present: torch.Tensor


class Modalities(NamedTuple):
    """All feature tables of a run; a modality without a table is left out."""

    items: dict[str, ItemFeatures]
    profile: ProfileIndex | None


def load_modalities(config: Any, dataset: UR4RecDataset) -> Modalities:
    """Load, check and align the tables named in the configuration."""
    unknown_allowed = bool(config["allow_unknown_tokens"])
    items = {}
    for name, key in ITEM_TABLES.items():
        table = _load(config, key, f"item_{name}")
        if table is None:
            continue
        tokens = dataset.field2id_token[dataset.iid_field]
        vectors, present = table.align(tokens, unknown_allowed)
        vectors = scale(vectors, present, config["feature_scaling"])
        items[name] = ItemFeatures(torch.from_numpy(vectors), torch.from_numpy(present))
    profiles = _load(config, PROFILE_TABLE, "user_profile")
    profile = None
    if profiles is not None:
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
    if method is None or present.sum() < 2:
        return vectors
    rows = vectors[present].astype(np.float64)
    rows -= rows.mean(axis=0)
    if method == "scale":
        rows /= max(float(np.sqrt(np.mean(rows**2))), 1e-8)
    elif method == "standardize":
        deviation = rows.std(axis=0)
        rows /= np.where(deviation > 1e-8, deviation, 1.0)
    elif method == "whiten":
        _, singular, directions = np.linalg.svd(rows, full_matrices=False)
        kept = singular > 1e-3**0.5 * singular[0]
        projected = rows @ directions[kept].T
        rows = np.zeros_like(rows)
        rows[:, : kept.sum()] = projected / singular[kept] * np.sqrt(len(projected))
    else:
        raise InputError(
            "feature_scaling", "must be standardize, scale, whiten or ~", repr(method),
            "Correct it in the YAML file.",
        )  # fmt: skip
    scaled = np.zeros_like(vectors)
    scaled[present] = rows
    return scaled


def table_path(config: Any, key: str) -> Path | None:
    """Return where the table of a key lies: as given, or else as the package ships it."""
    if config[key] is None:
        return None
    return find_file(config[key].replace("{dataset}", config["dataset"]))


def _load(config: Any, key: str, kind: str) -> FeatureTable | None:
    path = table_path(config, key)
    if path is None:
        getLogger().info(f"{key} is not set: the modality is masked.")
        return None
    table = FeatureTable.load(path)
    if table.provenance["kind"] != kind:
        raise InputError(
            key, f"must name a table of kind {kind}", table.provenance["kind"],
            "Swap the tables or make this one again.",
        )  # fmt: skip
    return table
