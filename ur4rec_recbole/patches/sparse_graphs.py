"""RecBole's graph models build their adjacency matrix with scipy >= 1.14 too.

LightGCN, NGCF, SpectralCF, GCMC, NCL, KGIN and MCCLK fill a `dok_matrix` by its private method
`_update`, which scipy 1.14 removed. It is given back; nothing else of scipy changes.
"""

from collections.abc import Mapping
from typing import Any

from scipy.sparse import dok_matrix


def apply() -> None:
    """Give `dok_matrix` its `_update` where scipy has none."""
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = _update


def _update(self: Any, entries: Mapping[tuple[int, int], float]) -> None:
    self._dict.update(entries)
