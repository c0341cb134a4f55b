"""Finished parts of an image run on disk, so that a killed run continues where it stood.

Beside OUTPUT.npz lies OUTPUT.npz.parts/ with a manifest and one file per finished shard, each
written atomically. A run that ends well removes them. A folder of that name without our manifest
belongs to somebody else: it is refused and left as it is.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, read_json, write_json
from ur4rec_recbole.data.archives import read_all

MANIFEST = "manifest.json"


class Shard(NamedTuple):
    """Results of consecutive files.

    Attributes
    ----------
    places
        [G] int64 places of the files that gave a vector.
    vectors
        [G, W] float16.
    digests
        [F, 32] uint8, SHA-256 of every file's bytes (zeros where it could not be read).
    reasons
        Place -> why there is no vector.
    """

    places: np.ndarray
    vectors: np.ndarray
    digests: np.ndarray
    reasons: dict[int, str]


class ShardFolder:
    """The parts of one run.

    Parameters
    ----------
    output
        The table that the run will write.
    settings
        All that decides the vectors: encoder, rules, precision.
    files
        The images, in order.
    shard_size
        Files a shard.
    """

    def __init__(
        self, output: str, settings: Mapping[str, object], files: Sequence[Path], shard_size: int
    ) -> None:
        self.path = Path(f"{output}.parts")
        self.count = -(-len(files) // shard_size)
        digest = hashlib.sha256()
        for file in files:
            stat = file.stat()
            digest.update(f"{file.name}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
        self.manifest = {**settings, "shard_size": shard_size, "files": digest.hexdigest()}

    def open(self, resume: bool) -> set[int]:
        """Make or reopen the folder; return the shards that are there already."""
        found = self._manifest()
        if found is not None and resume:
            self._check(found)
            return {index for index in range(self.count) if self._file(index).is_file()}
        if found is not None:
            self.remove()
        write_json(self.path / MANIFEST, self.manifest)
        return set()

    def write(self, index: int, shard: Shard) -> None:
        """Write one shard atomically."""
        reasons = json.dumps({str(place): reason for place, reason in shard.reasons.items()})
        with atomic_write(self._file(index)) as file:
            np.savez(
                file,
                places=shard.places,
                vectors=shard.vectors,
                digests=shard.digests,
                reasons=np.array(reasons),
            )

    def read(self, index: int) -> Shard:
        """Read one shard."""
        try:
            data = read_all(self._file(index))
            reasons = json.loads(str(data["reasons"][()]))
            return Shard(
                data["places"],
                data["vectors"],
                data["digests"],
                {int(place): reason for place, reason in reasons.items()},
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{self.path.name}/{self._file(index).name}", "must be as it was written", error,
                "Run once without --resume to start anew.",
            ) from error  # fmt: skip

    def remove(self) -> None:
        """Remove this run's files, and the folder if it is then empty; the manifest goes last."""
        ours = [*self.path.glob("part-*.npz"), *self.path.glob(".part-*.npz.*.tmp")]
        for file in [*ours, self.path / MANIFEST]:
            file.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _manifest(self) -> dict[str, object] | None:
        """Read the manifest of an earlier run; None where nothing is there yet."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return None
        try:
            found = read_json(self.path / MANIFEST)
        except (ValueError, OSError):
            found = None
        if not isinstance(found, dict) or not set(self.manifest) <= set(found):
            raise InputError(
                str(self.path), f"must be free, or hold a sound {MANIFEST} of this command",
                "something else", "Remove it yourself, or choose another --output.",
            )  # fmt: skip
        return found

    def _check(self, found: Mapping[str, object]) -> None:
        changed = [key for key in self.manifest if found.get(key) != self.manifest[key]]
        if changed:
            raise InputError(
                f"--resume: {self.path.name}",
                "must be of the same images, encoder and options",
                f"other {changed}",
                "Run once without --resume to start anew.",
            )

    def _file(self, index: int) -> Path:
        return self.path / f"part-{index:06d}.npz"
