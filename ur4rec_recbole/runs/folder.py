"""RunFolder: everything that is known of one run, on disk from its first second.

run.json        what was run: model, data, seed, configuration with origins, versions, machine
epochs.csv      one line an epoch: losses, validation metrics, seconds, peak memory
findings.jsonl  what the monitor found
stages.json     what each stage came to
routing.json    what the routers chose
members.json    the members of an ensemble, and the seconds of their training
metrics.json    final metrics by part and protocol
ranks.npz       the rank of every target: "<part>/<protocol>" [R] and "<part>/users" [R] tokens
*.pth           checkpoints

quick_start.run makes one for every run; `ur4rec report` and `ur4rec compare` read them.
"""

import csv
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, read_json, require_writable, write_json
from ur4rec_recbole.runs.provenance import commit, machine, resolved, versions

STATUSES = ("running", "done", "failed")


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
    ) -> "RunFolder":
        """Make the folder and write run.json.

        Parameters
        ----------
        path
            A folder that holds no run yet; None is runs/<model>-<dataset>-<time>.
        config
            RecBole's Config.
        files
            The configuration files that it was made from.
        fingerprint
            Of the training interactions (`data.dataset.training_fingerprint`).
        """
        folder = Path(path) if path else _default_folder(config)
        if (folder / "run.json").exists():
            raise InputError(
                f"run_folder {folder}", "must not hold a run yet", "one that does",
                f"Name another folder, or continue that run by --resume {folder}.",
            )  # fmt: skip
        about = {
            "model": config["model"],
            "dataset": config["dataset"],
            "seed": config["seed"],
            "status": "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": resolved(config, files),
            "versions": versions(),
            "commit": commit(),
            "machine": machine(),
            "data_fingerprint": fingerprint,
        }
        require_writable("run_folder", folder)
        run = cls(folder, about)
        run.write_json("run.json", about)
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Open an existing folder; `InputError` if it holds no readable run."""
        folder = Path(path)
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"Run folder {folder}", "must hold a readable run.json", error, "Check the path."
            ) from error
        needed = {"model", "dataset", "seed", "status", "config", "versions", "machine"}
        if not isinstance(about, dict) or not needed <= set(about):
            raise InputError(
                f"{folder / 'run.json'}", f"must have {sorted(needed)}", sorted(about),
                "Make the run again.",
            )  # fmt: skip
        if about["status"] not in STATUSES:
            raise InputError(
                f"{folder / 'run.json'}: status", f"must be one of {STATUSES}", about["status"],
                "Correct it.",
            )  # fmt: skip
        return cls(folder, about)

    def mark(self, status: str) -> None:
        """Set the status: running, done or failed."""
        self.about["status"] = status
        self.write_json("run.json", self.about)

    def settings(self) -> dict[str, Any]:
        """Return what was set by the user, to run the same again."""
        given = self.about["config"].items()
        own = {"default", "recbole"}
        return {key: each["value"] for key, each in given if each["origin"] not in own}

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Add one epoch's line; columns may differ from those of earlier epochs."""
        self._write_epochs([*self.epochs(), dict(row)])

    def add_finding(self, finding: Any) -> None:
        """Append one finding (a dataclass or a mapping with at least name and epoch)."""
        self._write_findings([*self.findings(), finding])

    def rewind(self, epoch: int, findings: Sequence[Any] = ()) -> None:
        """Forget epochs from `epoch` on and all but these findings: a resumed run makes them."""
        self._write_epochs([row for row in self.epochs() if row["epoch"] < epoch])
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
        with atomic_write(self.path / "ranks.npz") as file:
            np.savez_compressed(file, **dict(ranks))
        self.write_json("metrics.json", metrics)

    def epochs(self) -> list[dict[str, Any]]:
        """Read epochs.csv: numbers as numbers, empty cells left out, a half last line dropped."""
        lines = self._whole_lines("epochs.csv")
        rows = csv.DictReader(io.StringIO("".join(lines)))
        return [{k: _number(v) for k, v in row.items() if v not in ("", None)} for row in rows]

    def elapsed(self) -> float:
        """Return the seconds, of all processes of the run, that its epochs tell of."""
        return float(sum(row["elapsed"] for row in self.epochs()[-1:]))

    def findings(self) -> list[dict[str, Any]]:
        """Read findings.jsonl, a half last line dropped."""
        return [json.loads(line) for line in self._whole_lines("findings.jsonl")]

    def read(self, name: str) -> Any:
        """Read one of the .json files; None where it is not there (yet)."""
        return read_json(self.path / name)

    def ranks(self) -> dict[str, np.ndarray]:
        """Read ranks.npz; empty where the run has not ended."""
        path = self.path / "ranks.npz"
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _whole_lines(self, name: str) -> list[str]:
        path = self.path / name
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]

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
        write_json(self.path / name, value)

    def _write(self, name: str, text: str) -> None:
        with atomic_write(self.path / name) as file:
            file.write(text.encode())


def _default_folder(config: Any) -> Path:
    stem = f"runs/{config['model']}-{config['dataset']}-{time.strftime('%Y%m%d-%H%M%S')}"
    tried = [Path(stem), *(Path(f"{stem}-{n}") for n in range(2, 1000))]
    return next(path for path in tried if not path.exists())


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
