"""Hashes of what a feature table was made from: an encoder's weights, and texts."""

import hashlib
import json
from typing import Any


def weights_hash(model: Any) -> str:
    """Return a short SHA-256 over a torch model's named weights, whatever file they came from."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def text_hash(texts: dict[str, str]) -> str:
    """Return the SHA-256 of texts by token, whatever their order."""
    return hashlib.sha256(
        json.dumps(texts, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()
