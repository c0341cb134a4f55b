"""Writing files so that a crash never leaves a broken one in place of a good one.

`require_writable` finds out early whether a folder can be written to; `exclusive_lock` keeps two
processes from doing the same work at the same time.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from filelock import FileLock, Timeout

from ur4rec_recbole.core.errors import InputError, printable

# Errors of a place that is full, read-only or gone bad, or has no such name.
UNUSABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENOTDIR,
)  # fmt: skip


@contextmanager
def atomic_write(path: str | os.PathLike[str], make_folder: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` and rename it onto `path` once all is written.

    The parent folder is made where needed; without `make_folder` a missing one raises
    `FileNotFoundError`. If the block raises, `path` keeps its old content. What calls for the same
    path have left that were killed is removed.
    """
    target = Path(path)
    if make_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    remove_temporary(target.parent, re.escape(target.name))
    handle, name = _temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)  # while its lock is held
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(target)  # a full disk does not say of what
        raise


def remove_temporary(folder: Path, names: str) -> None:
    """Remove temporary files that killed `atomic_write` calls left for names matching a regex.

    Those of calls that go on are locked, and stay.
    """
    left = re.compile(rf"\.(?:{names})\.[a-z0-9_]{{8}}\.tmp")
    for path in folder.glob(".*.tmp"):
        if left.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with suppress(OSError), path.open("rb") as file:  # locked, another's, or gone by now
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _temporary(target: Path) -> tuple[int, str]:
    """Make a temporary file beside a target, locked for as long as it is open."""
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with suppress(OSError):  # a file system without locks, where none is removed either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):  # else another call removed it before it was locked
            return handle, name
        os.close(handle)


def parse_json(text: str, halves: bool = False) -> Any:
    """Parse JSON; ValueError for what is none, is nested too deeply or names a key twice.

    With `halves`, texts may hold half an emoji, which nothing can print or write.
    """
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not halves and "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys are distinct; json would keep the last of the same."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} for a second time")
        found[key] = value
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file; None where there is none, `InputError` where it is damaged."""
    if not path.exists():
        return None
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError
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


@contextmanager
def sole_use(
    path: str | os.PathLike[str], what: str, other: str = "another that writes it"
) -> Iterator[None]:
    """Hold PATH.lock, so that what lies at `path` is one process's.

    Parameters
    ----------
    path
        A file or folder whose own folder exists.
    what, other
        Name, in the `InputError` that a second process gets, the thing and who has it.
    """
    refusal = InputError(what, "must be one process's", other, "Wait until that ends.")
    with exclusive_lock(f"{path}.lock", refusal):
        yield


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def require_writable(key: str, folder: str | os.PathLike[str], size: int = 0) -> None:
    """Raise `InputError` where a folder cannot be written to or has less than `size` bytes free.

    The folder is made where needed; `key` is its configuration key.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"0")
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        raise InputError(
            printable(f"{key} {path}")[:300], "must be a folder that can be written to", error,
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
