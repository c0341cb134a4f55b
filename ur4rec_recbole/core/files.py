"""Writing files so that a crash never leaves a broken one in place of a good one.

`require_writable` finds out early whether a folder can be written to; `exclusive_lock` keeps two
processes from doing the same work at the same time.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from filelock import FileLock, Timeout

from ur4rec_recbole.core.errors import InputError


@contextmanager
def atomic_write(path: str | os.PathLike[str], make_folder: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` and rename it onto `path` once all is written.

    The parent folder is made where needed; without `make_folder` a missing one raises
    `FileNotFoundError`. If the block raises, `path` keeps its old content.
    """
    target = Path(path)
    if make_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_temporary(folder: Path, names: str) -> None:
    """Remove temporary files that killed `atomic_write` calls left for names matching a regex."""
    left = re.compile(rf"\.(?:{names})\.[a-z0-9_]{{8}}\.tmp")
    for path in folder.glob(".*.tmp"):
        if left.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file; None where there is none, `InputError` where it is damaged."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        raise InputError(
            str(path), "must be JSON", error, "Restore the file, or remove it and make it again."
        ) from error


def write_json(path: Path, value: Any, make_folder: bool = True) -> None:
    """Write a JSON file as `atomic_write` does."""
    with atomic_write(path, make_folder) as file:
        file.write((json.dumps(value, indent=1) + "\n").encode())


@contextmanager
def exclusive_lock(
    path: str | os.PathLike[str], refusal: InputError | None = None
) -> Iterator[None]:
    """Hold a lock that only one process can have; it ends with the process, even if killed.

    Parameters
    ----------
    path
        The lock's own file, in a folder that exists.
    refusal
        Raised if another process holds the lock; with None, wait for it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=refusal is None)
    except Timeout as error:
        raise refusal or error from error
    try:
        yield
    finally:
        lock.release()


def require_writable(key: str, folder: str | os.PathLike[str], size: int = 0) -> None:
    """Raise `InputError` where a folder cannot be written to or has less than `size` bytes free.

    The folder is made where needed; `key` is its configuration key.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"0")
    except OSError as error:
        raise InputError(
            f"{key} {path}", "must be a folder that can be written to", error,
            "Name another folder or make room.",
        ) from error  # fmt: skip
    free = psutil.disk_usage(str(path)).free
    if free < size:
        raise InputError(
            f"{key} {path}", f"needs {size / 1e6:.0f} MB for checkpoints",
            f"{free / 1e6:.0f} MB free", "Make room or name a folder on another disk.",
        )  # fmt: skip


def _umask() -> int:
    """Read the process's umask (mkstemp ignores it and makes files private)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
