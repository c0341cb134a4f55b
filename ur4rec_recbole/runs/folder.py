"""RunFolder: all records of one run, on disk from its first second.

A folder belongs to one run, which makes it; it holds nothing else.

run.json        what was run: model, data, seed, configuration with origins, versions, machine
epochs.csv      one line an epoch: losses, validation metrics, seconds, peak memory
findings.jsonl  what the monitor found
stages.json     what each stage came to
routing.json    what the routers chose
members.json    the members of an ensemble, and the seconds of their training
metrics.json    final metrics by part and protocol
ranks.npz       the rank of every target: "<part>/<protocol>" [R] and "<part>/users" [R] tokens
model.*, tokens.npz   the trained model (model/saved.py); model.pth is RecBole's checkpoint
resume.pth, <n>-<stage>.pth   what a run that was interrupted goes on from (training/resume.py)

runs/quick_start.py makes one for every run; `ur4rec report` and `ur4rec compare` read them. Nothing
that they read is unpickled, and what has another shape than a run writes is an `InputError`.
"""

import csv
import io
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ur4rec_recbole.core.config import PLACE
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, remove_temporary, require_writable
from ur4rec_recbole.runs import reading
from ur4rec_recbole.runs.provenance import commit, machine, resolved, versions

STATUSES = ("running", "done", "failed", "interrupted", "pruned")
OWN_FILES = (
    r"(?:run|stages|routing|members|metrics|model)\.json|epochs\.csv|findings\.jsonl"
    r"|(?:ranks|tokens)\.npz|model\.safetensors|report\.html|(?:model|resume|\d+-\w+)\.pth"
)


class RunFolder:
    """One run's folder; `create` starts a new one, `open` reads an old one.

    Attributes
    ----------
    path
        The folder.
    about
        What run.json holds.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        config: Any,
        files: Sequence[str] = (),
        fingerprint: str | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> "RunFolder":
        """Make the folder and write run.json.

        Parameters
        ----------
        path
            A folder that is not there yet or is empty; None is runs/<model>-<dataset>-<time>, with
            a number where another run has taken that name.
        config
            RecBole's Config.
        files
            The configuration files that it was made from.
        fingerprint
            Of the training interactions (`data.dataset.training_fingerprint`).
        inputs
            Of the data and the tables (`data.fingerprints.inputs`).
        """
        # Before the folder is claimed: what fails here leaves none behind.
        about = {
            "model": config["model"],
            "dataset": config["dataset"],
            "seed": config["seed"],
            "status": "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": resolved(config, files),
            "versions": versions(),
            "commit": commit(),
            "machine": machine(config["device"]),
            "data_fingerprint": fingerprint,
            "inputs": dict(inputs or {}),
        }
        folder = _claim_given(Path(path), config) if path else _claim_default(config)
        run = cls(folder, about)
        try:
            run.write_json("run.json", about)
        except BaseException:  # a full disk, Ctrl-C: nobody's folder again
            (folder / "run.json").unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
            raise
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Open an existing folder; `InputError` if it holds no readable run."""
        folder = Path(path)
        about = reading.read_json(folder, "run.json")
        if about is None:
            raise InputError(
                f"Run folder {folder}", "must hold a run.json", "none", "Check the path."
            )
        if about["status"] not in STATUSES:
            raise InputError(
                f"{folder / 'run.json'}: status", f"must be one of {STATUSES}", about["status"],
                "Correct it.",
            )  # fmt: skip
        return cls(folder, about)

    def mark(self, status: str) -> None:
        """Set the status, one of `STATUSES`."""
        self.about["status"] = status
        self.write_json("run.json", self.about)

    def settings(self, with_defaults: bool = False) -> dict[str, Any]:
        """Return the user's settings, to repeat the run; or with that time's defaults too.

        Of several processes that trained together it has their number, not one's place among them.
        """
        given = self.about["config"].items()
        left_out = {"recbole"} if with_defaults else {"default", "recbole"}
        return {
            key: each["value"]
            for key, each in given
            if each["origin"] not in left_out and key not in PLACE
        }

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Add one epoch's line; columns may differ from those of earlier epochs."""
        self._write_epochs([*self.epochs(), dict(row)])

    def add_finding(self, finding: Any) -> None:
        """Append one finding (a dataclass or a mapping with at least name and epoch)."""
        self._write_findings([*self.findings(), finding])

    def rewind(self, epoch: int, findings: Sequence[Any] = ()) -> None:
        """Drop epochs after `epoch` and all but these findings: a resumed run remakes them."""
        self._write_epochs([row for row in self.epochs() if row["epoch"] <= epoch])
        self._write_findings(findings)

    def write_stages(self, stages: Sequence[Mapping[str, Any]]) -> None:
        """Write what each stage so far has come to."""
        self.write_json("stages.json", list(stages))

    def write_routing(self, routing: Mapping[str, Any]) -> None:
        """Write what the routers chose."""
        self.write_json("routing.json", routing)

    def write_result(self, metrics: Mapping[str, Any], ranks: Mapping[str, np.ndarray]) -> None:
        """Write final metrics and ranks.

        Parameters
        ----------
        metrics
            {"valid": {protocol: {metric: value}}, "test": {...}, "seconds", "peak_memory"}.
        ranks
            "<part>/<protocol>" [R] int and "<part>/users" [R] str.
        """
        with self._writing("ranks.npz") as file:
            np.savez_compressed(file, **dict(ranks))
        self.write_json("metrics.json", metrics)

    def epochs(self) -> list[dict[str, Any]]:
        """Read epochs.csv: numbers as numbers, empty cells left out, a half last line dropped."""
        return reading.read_epochs(self.path)

    def elapsed(self) -> float:
        """Return the seconds, of all processes of the run, that its epochs tell of."""
        return float(sum(row.get("elapsed", 0.0) for row in self.epochs()[-1:]))

    def findings(self) -> list[dict[str, Any]]:
        """Read findings.jsonl, a half last line dropped."""
        return reading.read_findings(self.path)

    def read(self, name: str) -> Any:
        """Read one of the .json files; None where it is not there (yet)."""
        return reading.read_json(self.path, name)

    def ranks(self) -> dict[str, np.ndarray]:
        """Read ranks.npz; empty where the run has not ended."""
        return reading.read_ranks(self.path)

    def remove_temporary(self) -> None:
        """Remove what a kill has left of files that were being written; needs the run's lock."""
        remove_temporary(self.path, OWN_FILES)

    def _write_epochs(self, rows: list[dict[str, Any]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write("epochs.csv", text.getvalue())

    def _write_findings(self, findings: Sequence[Any]) -> None:
        rows = [each if isinstance(each, Mapping) else vars(each) for each in findings]
        self._write("findings.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the .json files."""
        self._write(name, json.dumps(value, indent=1) + "\n")

    def _write(self, name: str, text: str) -> None:
        with self._writing(name) as file:
            file.write(text.encode())

    @contextmanager
    def _writing(self, name: str) -> Iterator[BinaryIO]:
        """Open one of the run's files; a run whose folder was removed does not begin another."""
        if not (self.path / "run.json").exists():
            raise FileNotFoundError(f"the run folder {self.path} was removed")
        with atomic_write(self.path / name, make_folder=False) as file:
            yield file


def require_free(path: str | os.PathLike[str], config: Any) -> None:
    """Raise `InputError` unless a folder is not there yet or is empty.

    Checkpoints may lie inside it: what is theirs is not counted.
    """
    folder = Path(path)
    if not os.path.lexists(folder):
        return
    checkpoints = Path(config["checkpoint_dir"]).absolute()
    others = []
    if folder.is_dir():
        inside = (each.absolute() for each in folder.iterdir())
        others = [each.name for each in inside if each not in (checkpoints, *checkpoints.parents)]
    if others or not folder.is_dir():
        held = f"one with {sorted(others)[0]}" if others else "a file"
        remedy = "Name another folder, or leave run_folder out."
        if "run.json" in others:
            remedy = f"Name another folder, or continue that run by --resume {folder}."
        raise InputError(f"run_folder {folder}", "must be a new or empty folder", held, remedy)


def _claim_given(folder: Path, config: Any) -> Path:
    """Make a folder of the user's choice this run's; of two runs that name it one gets it."""
    require_writable("run_folder", folder)
    require_free(folder, config)
    try:
        (folder / "run.json").touch(exist_ok=False)
    except FileExistsError as error:
        raise InputError(
            f"run_folder {folder}", "must be a new or empty folder", "one that another run has",
            "Name another folder.",
        ) from error  # fmt: skip
    return folder


def _claim_default(config: Any) -> Path:
    """Make a folder that no other process has made."""
    stem = f"runs/{config['model']}-{config['dataset']}-{time.strftime('%Y%m%d-%H%M%S')}"
    require_writable("run_folder", "runs")
    for number in itertools.count(1):
        folder = Path(stem if number == 1 else f"{stem}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            (folder / "run.json").touch()
            break
    return folder
