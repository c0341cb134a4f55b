"""`ur4rec publish`: copies the results of finished runs, without weights and logs.

ur4rec publish runs/benchmark-ml-100k docs/results/benchmark-ml-100k

Weights, logs and absolute paths stay behind, and so does whatever a run does not write itself;
links are not followed. The copy is a folder of runs as well: `ur4rec report` reads it, and
`ur4rec benchmark --output` goes on from it.
"""

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, read_json
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.reading import read_findings

KEPT = (
    "run.json", "members.json", "metrics.json", "ranks.npz", "epochs.csv", "stages.json",
    "routing.json", "findings.jsonl",
)  # fmt: skip
# An absolute path inside a text; neither a web address nor a fraction.
PATH = re.compile(r"(?<![\w/.:])(?:/[^\s/\"'<>|,;:()]+){2,}|\b[A-Za-z]:\\[^\s\"'<>|,;()]+")


def publish(folder: Path, target: Path) -> int:
    """Copy the ended runs of a folder, and of its search for a setting; return their number."""
    copies = _copies(folder, target) | _copies(folder / "tuning", target / "tuning")
    if not copies:
        raise InputError(
            f"Folder {folder}", "must hold runs that have ended", "none",
            "Run `ur4rec benchmark` first.",
        )  # fmt: skip
    if target.resolve() == folder.resolve():
        raise InputError(
            f"Target {target}", "must be another folder than the one that is published", folder,
            "Name another one.",
        )  # fmt: skip
    before = _listed(target) + _listed(target / "tuning")
    contents = {goal: _content(file) for goal, file in copies.items()}  # before any is written
    for goal, content in contents.items():
        with atomic_write(goal) as copy:
            copy.write(content)
    for old in before:
        if old not in contents and _is_own(old):
            old.unlink()
    return sum(goal.name == "run.json" for goal in copies)


def _listed(target: Path) -> list[Path]:
    """Return what a copy has of runs by its index; those that are no longer theirs are removed."""
    index = read_json(target / "benchmark.json")
    runs = index.get("runs", {}) if isinstance(index, dict) else {}
    names = [name for name in runs if Path(name).name == name]
    jobs = [target / "jobs" / f"{name}.json" for name in names]
    return jobs + [target / name / kept for name in names for kept in KEPT]


def _copies(folder: Path, target: Path) -> dict[Path, Path]:
    """Return which file each copy is of."""
    if folder.is_symlink():
        return {}
    paths = [path.parent for path in sorted(folder.glob("*/run.json"))]
    opened = [RunFolder.open(path) for path in paths if not path.is_symlink()]
    ended = [each.path for each in opened if each.about["status"] == "done"]
    pairs = {target / path.name / name: path / name for path in ended for name in KEPT}
    for path in ended:
        job = f"{path.name}.json"
        pairs[target / "jobs" / job] = folder / "jobs" / job
    if ended:
        pairs[target / "benchmark.json"] = folder / "benchmark.json"
    return {goal: file for goal, file in pairs.items() if _is_own(file)}


def _is_own(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and not file.parent.is_symlink()


def _content(file: Path) -> bytes:
    """Return what a file holds without the paths of this machine."""
    if file.suffix == ".json":
        return (json.dumps(without_paths(read_json(file)), indent=1) + "\n").encode()
    if file.suffix == ".jsonl":
        rows = [without_paths(row) for row in read_findings(file.parent)]
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    return file.read_bytes()


def without_paths(value: Any) -> Any:
    """Replace every absolute path in a value, and inside its texts, by the path's last part."""
    if isinstance(value, dict):
        return {without_paths(key): without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    if not isinstance(value, str):
        return value
    return _name(value) if _absolute(value) else PATH.sub(lambda found: _name(found[0]), value)


def _absolute(text: str) -> bool:
    posix = PurePosixPath(text).is_absolute() and text.strip("/") != ""
    return posix or PureWindowsPath(text).is_absolute()


def _name(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
