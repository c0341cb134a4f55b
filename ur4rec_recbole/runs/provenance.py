"""Where a run comes from: every setting with its origin, versions, commit and machine.

RunFolder.create writes it into run.json.
"""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
from recbole.config import Config

from ur4rec_recbole.core.config import defaults_file, schema

PACKAGES = ("recbole", "torch", "numpy", "ur4rec_recbole")


def resolved(config: Any, files: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return every configuration key with its value and its origin.

    An origin is `command line`, `code`, the name of a file, `default` (this package's) or
    `recbole`.
    """
    named: dict[str, str] = {}
    for name in files:
        named |= dict.fromkeys(config._load_config_files([name]), str(name))
    own = schema(config["model"]) if defaults_file(config["model"]).exists() else {}
    found = {}
    for key, value in config.final_config_dict.items():
        origin = named.get(key, "default" if key in own else "recbole")
        origin = "code" if key in config.variable_config_dict else origin
        origin = "command line" if key in config.cmd_config_dict else origin
        value = config.external_config_dict.get(key, value)  # as it was given, if it was
        found[key] = {"value": _plain(value), "origin": origin}
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str | None:
    """Return the git commit of the working directory, or None."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, torch's threads, memory in bytes, and the card, if one is used."""
    found = {
        "cpu": _processor(),
        "cores": psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": psutil.virtual_memory().total,
    }
    if device.type == "cuda":
        found["card"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _plain(value: Any) -> Any:
    """Return what JSON can hold: containers and numbers as they are, all else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Config):  # an ensemble's members; as text each is a page, with paths
        return f"{value['model']} on {value['dataset']}, seed {value['seed']}"
    return str(value)
