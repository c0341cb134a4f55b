"""Texts and images of new items to vectors, by the encoders that wrote the training tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.modalities import Origin
from ur4rec_recbole.extract.decoding import DecodeRules, ImageFiles, collate


class ContentEncoders:
    """Encodes what new items have, float16 as tables hold it; loads an encoder when first used."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def texts(
        self, origins: Mapping[str, Origin], texts: Sequence[str], encoder: Any = None
    ) -> np.ndarray:
        """Return [n, W] of n texts; `encoder` is a `TextEncoder`, the table's own unless given."""
        from ur4rec_recbole.extract.encoders import text_encoder

        chosen = self._chosen(origins, "text", encoder, text_encoder)
        return _as_tables_do(chosen.encode(list(texts)))

    def images(
        self, origins: Mapping[str, Origin], files: Sequence[str | Path], encoder: Any = None
    ) -> np.ndarray:
        """Return [n, W] of n image files; `encoder` is an `ImageModel`, as above."""
        from ur4rec_recbole.extract.image_models import image_model

        chosen = self._chosen(origins, "image", encoder, image_model)
        paths = [Path(file) for file in files]
        read = ImageFiles(paths, chosen.preprocess, DecodeRules(chosen.side))
        batch, _, results = collate([read[place] for place in range(len(paths))])
        refused = [f"{paths[each.place].name}: {each.reason}" for each in results if each.reason]
        if refused:
            raise InputError(
                "images of new items", "must be images that can be used", refused[:3],
                "Leave those out.",
            )  # fmt: skip
        return _as_tables_do(chosen.encode(batch))

    def _chosen(self, origins: Mapping[str, Origin], modality: str, given: Any, load: Any) -> Any:
        """Return the encoder of a modality if it is the one that wrote the training table."""
        if modality not in origins:
            raise InputError(
                f"{modality}s of new items", f"need a model with item {modality}s", "one without",
                f"Train UR4Rec with item_{modality}_table.",
            )  # fmt: skip
        origin = origins[modality]
        if given is None:
            given = self._loaded[modality] = self._loaded.get(modality) or load(origin.encoder)
        if origin.version and given.version.split(";")[0] != origin.version.split(";")[0]:
            raise InputError(
                "encoder", f"must be the one that wrote the table, {origin.encoder} "
                f"{origin.version}", f"{given.name} {given.version}", "Name that one.",
            )  # fmt: skip
        return given


def _as_tables_do(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float16).astype(np.float32)
