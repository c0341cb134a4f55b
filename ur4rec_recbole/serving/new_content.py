"""Texts and images of new items to vectors, by the encoders that wrote the training tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.modalities import Origin, item_tables
from ur4rec_recbole.extract import lexical
from ur4rec_recbole.extract.decoding import DecodeRules, ImageFiles, collate


def learned_beside(config: Any) -> Path | None:
    """Return the file beside the table of texts that says what their encoder has learned."""
    table = item_tables(config).get("text")
    file = Path(f"{table.path}.{lexical.LEARNED}") if table else None
    return file if file and file.is_file() else None


class ContentEncoders:
    """Encodes what new items have, float16 as tables hold it; loads an encoder when first used.

    Parameters
    ----------
    learned
        File of what the encoder of the texts has learned from those of the table, for one that
        learns: `tfidf`, or several joined.
    """

    def __init__(self, learned: Path | None = None) -> None:
        self.learned = learned
        self._loaded: dict[str, Any] = {}

    def texts(
        self, origins: Mapping[str, Origin], texts: Sequence[str], encoder: Any = None
    ) -> np.ndarray:
        """Return [n, W] of n texts; `encoder` is a `TextEncoder`, the table's own unless given."""
        chosen = self._chosen(origins, "text", encoder, self._text_encoder)
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
        if origin.version and _weights(given.version) != _weights(origin.version):
            raise InputError(
                "encoder", f"must be the one that wrote the table, {origin.encoder} "
                f"{origin.version}", f"{given.name} {given.version}", "Name that one.",
            )  # fmt: skip
        return given

    def _text_encoder(self, name: str) -> Any:
        """Load a text encoder with what it has learned."""
        from ur4rec_recbole.extract.encoders import text_encoder

        encoder = text_encoder(name)
        if not hasattr(encoder, "restore"):
            return encoder
        if self.learned is None:
            raise InputError(
                "texts of new items", f"need what the encoder {name} has learned from the table's",
                "no such file", "Put TABLE.npz.encoder.npz, which `ur4rec extract text` wrote, "
                "beside the run's table and load or export the run again; or give vectors.",
            )  # fmt: skip
        lexical.restore(encoder, self.learned)
        return encoder


def _weights(version: str) -> list[str]:
    """Return what an encoder's vectors depend on, of each that is joined: not the libraries."""
    return [part.split(";")[0] for part in version.split(" + [")]


def _as_tables_do(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float16).astype(np.float32)
