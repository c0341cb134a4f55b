"""Runs in processes of their own, which end with the one that starts them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.processes import exit_with_parent


def threads_each(jobs: int) -> int:
    """Return how many threads each of so many processes may have that share this machine."""
    cores = os.cpu_count() or 1
    if not 1 <= jobs <= cores:
        raise InputError("--jobs", f"must be in [1, {cores}]", jobs, "Choose fewer.")
    # More threads than the cores that this process may use wait for one another.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, usable // jobs)


def start(module: str, words: Sequence[str], log: Path, threads: int) -> subprocess.Popen[bytes]:
    """Start a module as a program, its output in a file; `begin` is its half.

    Its standard input closes with this process, and that is how it learns of the end. It has a
    session of its own, so that Ctrl-C reaches it through this process alone.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words, str(threads)],
            stdin=subprocess.PIPE, stdout=stream, stderr=stream, env=environment,
            start_new_session=True,
        )  # fmt: skip


def begin(doc: str | None, **words: Any) -> argparse.Namespace:
    """Be a program that `start` started: read its words by type, and end with the parent."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    for name, kind in {**words, "threads": int}.items():
        parser.add_argument(name, type=kind)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    # Standard input closes with the parent. Not sys.stdin: its lock would be held at exit.
    exit_with_parent(lambda: os.read(0, 1))
    return asked
