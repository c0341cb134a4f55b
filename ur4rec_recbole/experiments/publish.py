"""`ur4rec publish`: copies of ended runs what reports and later runs need, for a repository.

ur4rec publish runs/benchmark-ml-100k docs/results/benchmark-ml-100k

Weights, logs and absolute paths stay behind. The copy is a folder of runs as well: `ur4rec report`
reads it, and `ur4rec benchmark --output` goes on from it.
"""

import shutil
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.runs.folder import RunFolder

KEPT = (
    "members.json", "metrics.json", "ranks.npz", "epochs.csv", "stages.json", "routing.json",
    "findings.jsonl",
)  # fmt: skip


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
    opened = [RunFolder.open(path.parent) for path in sorted(folder.glob("*/run.json"))]
    ended = [each for each in opened if each.about["status"] == "done"]
    for each in ended:
        name = each.path.name
        _copy([each.path / file for file in KEPT], target / name)
        _copy([folder / "jobs" / f"{name}.json"], target / "jobs")
        config = {key: value for key, value in each.about["config"].items() if not _local(value)}
        RunFolder(target / name, {}).write_json("run.json", each.about | {"config": config})
    if ended:
        _copy([folder / "benchmark.json"], target)
    return len(ended)


def _copy(files: list[Path], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.exists():
            shutil.copyfile(file, target / file.name)


def _local(setting: dict[str, Any]) -> bool:
    """Tell whether a setting is a path that another machine does not have."""
    return isinstance(setting["value"], str) and Path(setting["value"]).is_absolute()
