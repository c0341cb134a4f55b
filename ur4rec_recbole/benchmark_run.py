"""One run of a benchmark in a process of its own; started by benchmark.py, not by hand.

python -m ur4rec_recbole.benchmark_run JOB.json RUN_FOLDER THREADS
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ur4rec_recbole import quick_start
from ur4rec_recbole.ending import exit_after
from ur4rec_recbole.run_folder import RunFolder


def run(job: dict[str, Any], folder: Path) -> None:
    """Pretrain where the job says so, then train and evaluate into the folder."""
    began, before = time.perf_counter(), 0.0
    # Ensembles of several seeds share members, which are trained once.
    place = folder.parent if job["model"] == "UR4RecEnsemble" else folder
    settings = dict(job["settings"]) | {"checkpoint_dir": str(place / "checkpoints")}
    if job["pretrain"]:
        first = folder.with_name(f"{folder.name}.pretrain")
        earlier = job["pretrain"] | {
            "run_folder": str(first), "checkpoint_dir": str(first / "checkpoints"),
        }  # fmt: skip
        result = _train(job, settings | earlier)
        settings["pre_model_path"] = result["model_file"]
    if interrupted(job, folder):
        before = RunFolder.open(folder).elapsed()
        quick_start.run(resume=str(folder))
    else:
        _train(job, settings | {"run_folder": str(folder)})
    made = RunFolder.open(folder)
    cost = {"wall_seconds": before + time.perf_counter() - began}
    made.write_json("metrics.json", (made.read("metrics.json") or {}) | cost)


def interrupted(job: dict[str, Any], folder: Path) -> bool:
    """Tell whether the folder holds a run of this job that was killed and can go on."""
    if job["model"] != "UR4Rec" or not (folder / "run.json").exists():
        return False
    return RunFolder.open(folder).about["status"] == "running"


def _train(job: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    files = job["config_files"] or None
    return quick_start.run(job["model"], job["dataset"], files, settings)


def main() -> int:
    """Run the job that the command line names."""
    job, folder, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sys.argv = sys.argv[:1]  # RecBole reads configuration from the command line
    torch.set_num_threads(threads)
    # Our input closes with the parent. Not sys.stdin: its lock would be held when Python ends.
    exit_after(lambda: os.read(0, 1))
    run(json.loads(job.read_text(encoding="utf-8")), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
