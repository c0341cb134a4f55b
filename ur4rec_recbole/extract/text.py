"""Item texts to a feature table: `ur4rec extract text`.

Texts come from a file, from the item's own columns, or from a language model (`--write llm`).
"""

from collections.abc import Mapping

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.encoders import TextEncoder
from ur4rec_recbole.extract.fingerprints import text_hash


def extract_text(texts: Mapping[str, str], encoder: TextEncoder, source: str) -> FeatureTable:
    """Encode texts into a table, one row per token in the given order.

    Empty texts give no row, nor do those of which the encoder knows nothing (a zero vector).

    Parameters
    ----------
    texts
        By item token.
    encoder
        From `text_encoder`.
    source
        What the texts are, for the provenance.
    """
    kept = {token: text for token, text in texts.items() if text.strip()}
    if not kept:
        raise InputError(
            "texts", "must name at least one item of the data set with a text that is not empty",
            f"{len(texts)} texts, none of use", "Check the file, or the data set's .item columns.",
        )  # fmt: skip
    vectors = encoder.encode(list(kept.values())).astype(np.float16)  # [R, W]
    known = vectors.any(axis=1)
    provenance = {
        "kind": "item_text",
        "encoder": encoder.name,
        "encoder_version": encoder.version,
        "source": source,
        "source_sha256": text_hash(kept),
        "split": "none",
    }
    return FeatureTable(np.array(list(kept))[known], vectors[known], provenance)
