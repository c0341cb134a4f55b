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
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.runs.folder import RunFolder

KEPT = (
    "run.json", "members.json", "metrics.json", "ranks.npz", "epochs.csv", "stages.json",
    "routing.json", "findings.jsonl",
)  # fmt: skip
# An absolute path inside a text; neither a web address nor a fraction.
PATH = re.compile(r"(?<![\w/.:])(?:/[^\s/\"'<>|,;:()]+){2,}|\b[A-Za-z]:\\[^\s\"'<>|,;()]+")


def publish(folder: Path, target: Path) -> int:
    """Copy the ended runs of a folder, and of its search for a setting; return their number."""
    number = _publish(folder, target) + _publish(folder / "tuning", target / "tuning")
    if number == 0:
        raise InputError(
            f"Folder {folder}", "must hold runs that have ended", "none",
            "Run `ur4rec benchmark` first.",
        )  # fmt: skip
    return number


def _publish(folder: Path, target: Path) -> int:
    if folder.is_symlink():
        return 0
    paths = [path.parent for path in sorted(folder.glob("*/run.json"))]
    opened = [RunFolder.open(path) for path in paths if not path.is_symlink()]
    ended = [each.path for each in opened if each.about["status"] == "done"]
    for path in ended:
        for name in KEPT:
            _copy(path / name, target / path.name)
        _copy(folder / "jobs" / f"{path.name}.json", target / "jobs")
    if ended:
        _copy(folder / "benchmark.json", target)
    return len(ended)


def _copy(file: Path, target: Path) -> None:
    """Copy a file where there is one, without the paths of this machine."""
    if file.is_symlink() or file.parent.is_symlink() or not file.is_file():
        return
    content = file.read_bytes()
    if file.suffix == ".json":
        content = (json.dumps(without_paths(json.loads(content)), indent=1) + "\n").encode()
    elif file.suffix == ".jsonl":
        rows = [without_paths(json.loads(line)) for line in content.splitlines()]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with atomic_write(target / file.name) as copy:
        copy.write(content)


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
