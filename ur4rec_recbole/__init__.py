"""UR4Rec for RecBole: importing this package registers the model with RecBole.

The `ur4rec` command registers when it has read its words, so that --help need not load RecBole.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

__version__ = "0.2.0"
__all__ = ["InputError", "Recommender", "load", "register", "run"]

_PLACES = {
    "InputError": "core.errors",
    "Recommender": "serving.recommender",
    "load": "runs.loading",
    "register": "registration",
    "run": "runs.quick_start",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def _is_command() -> bool:
    as_module = sys.orig_argv[1:3] == ["-m", __name__]
    return as_module or Path(sys.argv[0]).stem == "ur4rec"


def _require_recbole() -> None:
    """Tell how RecBole is installed where pip could not: see setup.py."""
    if importlib.util.find_spec("recbole") is None:
        raise ModuleNotFoundError(
            "ur4rec_recbole needs RecBole: pip install --no-deps recbole==1.2.1", name="recbole"
        )


_require_recbole()
if not _is_command():
    __getattr__("register")()
