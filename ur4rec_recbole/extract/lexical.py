"""Words and pairs of words to vectors: TF-IDF, cut to its main axes by an SVD.

What two texts have in common word by word: brands, model numbers, names. It needs no weights and
takes seconds. Latent semantic analysis (Deerwester et al., 1990), by scikit-learn.
"""

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError, first_line, needs
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.archives import read_all

WIDTH = 384
SEED = 2020
LEARNED = "encoder.npz"  # ending, behind a table's name, of what its encoder has learned
MOST_TERMS = 50_000  # the most frequent; they bound the size of the axes
FEW_TEXTS = 50  # among which a word that occurs once still counts
# Every word, of one letter or digit too: with pairs, "WD-40" and "WD 40" are the same "wd 40".
WORD = r"(?u)\w+"


@dataclass
class TfidfEncoder:
    """TF-IDF vectors on their main axes; learns from the first texts that it encodes.

    x = unit(unit((1 + ln count) * idf) @ axes^T), counting words and pairs of neighbouring words.

    Parameters
    ----------
    width
        Axes W, at most the rank of the texts' matrix.
    terms
        [T] words and pairs, in the order of `idf`; empty before the first texts.
    idf
        [T] float64, ln((1 + texts) / (1 + texts with the term)) + 1.
    axes
        [W, T] float16: rounded once, so that a saved encoder gives the same vectors.
    version
        Hash of the vocabulary, scikit-learn's version, settings, the share of variance kept.
    """

    width: int = WIDTH
    terms: Sequence[str] = ()
    idf: np.ndarray | None = None
    axes: np.ndarray | None = None
    version: str = "not fitted yet"
    name: str = "tfidf"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, W] float32 unit vectors; zeros for a text without a known term."""
        if self.axes is None:
            self._fit(texts)
        weights = _vectorizer(self.terms, self.idf).transform(texts)  # [R, T] sparse
        return _unit(weights.astype(np.float32) @ self.axes.astype(np.float32).T)  # type: ignore[union-attr]

    def learned(self) -> dict[str, np.ndarray]:
        """Return what encoding further texts needs, as arrays."""
        terms = np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8)
        return {
            "terms": terms, "idf": np.asarray(self.idf), "axes": np.asarray(self.axes),
            "version": np.array(self.version),
        }  # fmt: skip

    def restore(self, learned: Mapping[str, np.ndarray]) -> None:
        """Take over what `learned` returned; raises what numpy raises for other arrays."""
        self.terms = learned["terms"].tobytes().decode().split("\n")
        self.idf, self.axes = learned["idf"], learned["axes"]
        self.width, self.version = len(self.axes), str(learned["version"][()])
        if self.idf.shape != (len(self.terms),) or self.axes.shape[1:] != self.idf.shape:
            raise ValueError(f"{len(self.terms)} terms, axes {self.axes.shape}")

    def _fit(self, texts: Sequence[str]) -> None:
        import sklearn
        from sklearn.decomposition import TruncatedSVD

        least = 1 if len(texts) < FEW_TEXTS else 2
        vectorizer = _vectorizer(least=least)
        try:
            weights = vectorizer.fit_transform(texts)  # [R, T] sparse
        except ValueError as error:  # no term is left
            raise InputError(
                "the texts", "must share words to be told apart by", f"{len(texts)} texts: {error}",
                "Check the texts, or name another encoder.",
            ) from error  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):  # texts that are all alike
            svd = TruncatedSVD(min(self.width, *weights.shape), random_state=SEED).fit(weights)
        real = svd.singular_values_ > 1e-5 * svd.singular_values_[0]  # the others are rounding
        self.terms = [str(term) for term in vectorizer.get_feature_names_out()]
        self.idf = vectorizer.idf_
        self.axes = svd.components_[real].astype(np.float16)
        kept = np.nan_to_num(svd.explained_variance_ratio_[real].sum(), nan=1.0)
        # Not of the axes, whose last bits follow the order of the texts and the processor.
        digest = hashlib.sha256("\n".join(self.terms).encode()).hexdigest()
        self.version = (
            f"vocabulary sha256:{digest[:16]}; scikit-learn {sklearn.__version__}; "
            f"{len(self.terms)} words and pairs in at least {least} texts, sublinear; "
            f"seed {SEED}; {len(self.axes)} axes hold {kept:.1%} of the variance"
        )


def read_width(name: str, width: str) -> int:
    """Read the number of `NAME:256`; nothing stands for the default."""
    if width and not (width.isascii() and width.isdecimal() and int(width) > 0):
        raise InputError(
            "--encoder", f"must be {name}, or {name}:WIDTH with a whole number above 0",
            f"{name}:{width}", f"Write for instance {name}:256.",
        )  # fmt: skip
    return int(width or WIDTH)


def load(path: str | os.PathLike[str]) -> TfidfEncoder:
    """Read the encoder of a table from its file, OUTPUT.npz.encoder.npz; never unpickles."""
    encoder = TfidfEncoder()
    restore(encoder, path)
    return encoder


def save(encoder: Any, path: str | os.PathLike[str]) -> None:
    """Write what an encoder with `learned` has learned."""
    with atomic_write(path) as file:
        np.savez_compressed(file, **encoder.learned())


def restore(encoder: Any, path: str | os.PathLike[str]) -> None:
    """Give an encoder with `restore` what `save` wrote, or raise `InputError`."""
    try:
        encoder.restore(read_all(path))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"encoder file {Path(path).name!r}", "must be what `ur4rec extract` wrote",
            first_line(error), "Make the table again.",
        ) from error  # fmt: skip


def _vectorizer(terms: Sequence[str] = (), idf: np.ndarray | None = None, least: int = 1) -> Any:
    """Return scikit-learn's vectorizer, new or with what was learned."""
    with needs("scikit-learn", "for the encoder tfidf", "extract"):
        from sklearn.feature_extraction.text import TfidfVectorizer
    vectorizer = TfidfVectorizer(
        preprocessor=_clean, token_pattern=WORD, ngram_range=(1, 2), sublinear_tf=True,
        min_df=least, max_features=MOST_TERMS, vocabulary=list(terms) or None,
    )  # fmt: skip
    if idf is not None:
        vectorizer.idf_ = idf
    return vectorizer


def _clean(text: str) -> str:
    """Fold what only looks different: letter cases, composed accents, full-width digits."""
    return unicodedata.normalize("NFKC", text).casefold()


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
