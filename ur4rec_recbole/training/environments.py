"""Environments of other libraries: made by venv and pip once, and used by every run after that."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock

PLACE = "UR4REC_ENVIRONMENTS"  # variable that names another folder than the one below
READY = "ready"  # file in an environment whose packages are all installed


def python_with(requirements: Sequence[str]) -> Path:
    """Return the interpreter of an environment with these packages, made now unless it exists.

    Without requirements this process's own.
    """
    if not requirements:
        return Path(sys.executable)
    name = re.sub(r"[^\w.]+", "-", " ".join(requirements)).strip("-")
    usual = Path.home() / ".cache" / "ur4rec" / "environments"
    folder = Path(os.environ.get(PLACE, usual)) / name
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(f"{folder}.lock"):  # another run may be making it
        if not (folder / READY).exists():
            print(f"{folder}: installing {' '.join(requirements)}", flush=True)
            _call([sys.executable, "-m", "venv", "--clear", str(folder)])
            _call([str(python), "-m", "pip", "install", "--quiet", *requirements])
            (folder / READY).touch()
    return python


def _call(words: Sequence[str]) -> None:
    found = subprocess.run(words, capture_output=True, text=True, errors="replace")
    if found.returncode:
        raise InputError(
            "adapter_requirements", "must be packages that pip can install",
            found.stderr.strip()[-500:], "Correct them, or make sure of the network.",
        )  # fmt: skip
