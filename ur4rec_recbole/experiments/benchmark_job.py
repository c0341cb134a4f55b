"""One run of a benchmark in a process of its own; started by benchmark.py, not by hand.

python -m ur4rec_recbole.experiments.benchmark_job JOB.json RUN_FOLDER THREADS
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ur4rec_recbole.core.processes import exit_with_parent
from ur4rec_recbole.runs import keeping, quick_start
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.result import RunResult

PRETRAINED = "pretrained.json"  # in the folder of a pretraining that has ended


def run(job: dict[str, Any], folder: Path) -> None:
    """Pretrain where the job says so, then train and evaluate into the folder."""
    began, before = time.perf_counter(), _spent(folder)
    # Ensembles of several seeds share members, which are trained once.
    place = folder.parent if job["model"] == "UR4RecEnsemble" else folder
    settings = dict(job["settings"]) | {"checkpoint_dir": str(place / "checkpoints")}
    if interrupted(folder):
        quick_start.run(resume=str(folder))
    else:
        if job["pretrain"]:
            settings["pre_model_path"] = _pretrained(job, settings, pretraining(folder))
        _train(job, settings | {"run_folder": str(folder)})
    made = RunFolder.open(folder)
    metrics, members = made.read("metrics.json"), made.read("members.json")
    if members:  # which other seeds, or a run that was killed, may have trained
        seconds = metrics["seconds"] + sum(each["seconds"] or 0.0 for each in members)
    else:
        seconds = before + time.perf_counter() - began
    made.write_json("metrics.json", metrics | {"wall_seconds": seconds})


def pretraining(folder: Path) -> Path:
    """Return the folder of the training that comes before a run's."""
    return folder.with_name(f"{folder.name}.pretrain")


def _spent(folder: Path) -> float:
    """Return the seconds that earlier processes spent on what a run goes on from."""
    first = pretraining(folder)
    seconds = 0.0
    if (first / PRETRAINED).exists():
        seconds += RunFolder.open(first).read("metrics.json")["seconds"]
    return seconds + sum(RunFolder.open(p).elapsed() for p in (first, folder) if interrupted(p))


def interrupted(folder: Path) -> bool:
    """Tell whether the folder holds a run that was killed and can go on."""
    if not (folder / "run.json").exists():
        return False
    run = RunFolder.open(folder)
    return run.about["status"] == "running" and keeping.can_resume(run)


def _pretrained(job: dict[str, Any], settings: dict[str, Any], folder: Path) -> str:
    """Return the model file of the job's pretraining, ended now unless it was before a kill."""
    if not (folder / PRETRAINED).exists():
        if interrupted(folder):
            result = quick_start.run(resume=str(folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
            own = {"run_folder": str(folder), "checkpoint_dir": str(folder / "checkpoints")}
            result = _train(job, settings | job["pretrain"] | own)
        RunFolder.open(folder).write_json(PRETRAINED, {"model_file": result["model_file"]})
    return RunFolder.open(folder).read(PRETRAINED)["model_file"]


def _train(job: dict[str, Any], settings: dict[str, Any]) -> RunResult:
    files = job["config_files"] or None
    return quick_start.run(job["model"], job["dataset"], files, settings)


def main() -> int:
    """Run the job that the command line names."""
    job, folder, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    # Our input closes with the parent. Not sys.stdin: its lock would be held when Python ends.
    exit_with_parent(lambda: os.read(0, 1))
    run(json.loads(job.read_text(encoding="utf-8")), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
