"""Several encoders as one, and random vectors as the control of them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SEED = 2020


@dataclass
class JoinedEncoder:
    """The vectors of several encoders side by side, each block of the same total variance.

    x = [s_1 x_1, ..., s_n x_n], where s_i makes the variance of block i, summed over its
    dimensions, 1 / n over the first texts that are encoded. Without it the block of the larger
    variance would decide every dot product.

    Parameters
    ----------
    parts
        The encoders.
    scales
        [n] float64; None before the first texts.
    """

    parts: Sequence[Any]
    scales: np.ndarray | None = None

    @property
    def name(self) -> str:
        """All names, joined by +."""
        return "+".join(part.name for part in self.parts)

    @property
    def version(self) -> str:
        """All versions."""
        return " + ".join(f"[{part.name}] {part.version}" for part in self.parts)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, sum of widths] float32."""
        blocks = [part.encode(texts) for part in self.parts]
        if self.scales is None:
            variances = np.array([block.var(axis=0, dtype=np.float64).sum() for block in blocks])
            # Blocks without variance (one text, or all alike) stay as they are.
            self.scales = 1 / np.sqrt(np.where(variances > 0, variances, 1) * len(blocks))
        scaled = [block * scale for block, scale in zip(blocks, self.scales, strict=True)]
        return np.concatenate(scaled, axis=1).astype(np.float32)

    def learned(self) -> dict[str, np.ndarray]:
        """Return the scales, and what the parts learned."""
        learned = {"scales": np.asarray(self.scales)}
        for part in self._learners():
            learned |= part.learned()
        return learned

    def restore(self, learned: Mapping[str, np.ndarray]) -> None:
        """Take over what `learned` returned."""
        self.scales = learned["scales"]
        if self.scales.shape != (len(self.parts),):
            raise ValueError(f"scales of {self.scales.shape} blocks")
        for part in self._learners():
            part.restore(learned)

    def _learners(self) -> list[Any]:
        return [part for part in self.parts if hasattr(part, "learned")]


@dataclass
class RandomEncoder:
    """Random directions that know nothing of the texts: the control of what texts bring.

    Parameters
    ----------
    width
        W of x / |x|, x ~ N(0, I).
    """

    width: int
    name: str = "random"
    version: str = f"numpy default_rng({SEED}), unit vectors of normal draws; no text was read"
    _draws: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return [R, W] float32 unit vectors, new ones at each call."""
        vectors = self._draws.standard_normal((len(texts), self.width))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
