"""One run of a benchmark in a process of its own; started by benchmark.py, not by hand.

python -m ur4rec_recbole.experiments.benchmark_job JOB.json RUN_FOLDER THREADS
"""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.files import exclusive_lock
from ur4rec_recbole.core.processes import termination_raises
from ur4rec_recbole.experiments import apart
from ur4rec_recbole.experiments.jobs import data_digest, digest
from ur4rec_recbole.runs import quick_start
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.result import RunResult
from ur4rec_recbole.runs.resuming import unfinished

PRETRAINED = "pretrained.json"  # in the folder of a pretraining that has ended


def run(job: Mapping[str, Any], folder: Path) -> None:
    """Run the job's pretraining or shared first stage, if any, then train and evaluate."""
    began, before = time.perf_counter(), _spent(folder)
    settings = dict(job["settings"])
    if job["model"] == "UR4RecEnsemble":  # several seeds share members, which are trained once
        settings["checkpoint_dir"] = str(folder.parent / "checkpoints")
    if unfinished(folder):
        named = {}
        if job["pretrain"]:
            ended = RunFolder.open(pretraining(folder)).read(PRETRAINED)
            named["pre_model_path"] = ended["model_file"]
        quick_start.run(config_dict=named, resume=str(folder))
    else:
        if job["pretrain"]:
            first = settings | job["pretrain"]
            settings["pre_model_path"] = _pretrained(job, first, pretraining(folder))
        elif job.get("first"):
            settings["pre_model_path"] = _first_stage(job, folder.parent)
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
    """Return the seconds that earlier processes spent on the work that this run builds on."""
    first = pretraining(folder)
    seconds = 0.0
    if (first / PRETRAINED).exists():
        seconds += RunFolder.open(first).read("metrics.json")["seconds"]
    return seconds + sum(RunFolder.open(p).elapsed() for p in (first, folder) if unfinished(p))


def _first_stage(job: Mapping[str, Any], output: Path) -> str:
    """Return the weights after the first stage, which runs of one plan and seed share."""
    settings = job["first"]["settings"]
    name = f"{digest(job['first'])[:16]}-{data_digest(job['first'])[:8]}-{settings['seed']}"
    folder = output / "first" / name
    folder.parent.mkdir(exist_ok=True)
    with exclusive_lock(f"{folder}.lock"):  # another run of the plan may be training it
        return _pretrained(job, settings, folder)


def _pretrained(job: Mapping[str, Any], settings: Mapping[str, Any], folder: Path) -> str:
    """Return the model file of the job's pretraining, ended now unless it was before a kill."""
    if not (folder / PRETRAINED).exists():
        if unfinished(folder):
            result = quick_start.run(resume=str(folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
            result = _train(job, {**settings, "run_folder": str(folder)})
        file = result["model_file"]
        if job["model"] == "UR4Rec":  # its weights after a stage can be read without unpickling
            file = str(next(folder.glob("1-*.pth")))
        RunFolder.open(folder).write_json(PRETRAINED, {"model_file": file})
    return RunFolder.open(folder).read(PRETRAINED)["model_file"]


def _train(job: Mapping[str, Any], settings: Mapping[str, Any]) -> RunResult:
    return quick_start.run(job["model"], job["dataset"], None, settings)


def main() -> int:
    """Run the job that the command line names."""
    asked = apart.begin(__doc__, job=Path, folder=Path)
    with termination_raises():
        run(json.loads(asked.job.read_text(encoding="utf-8")), asked.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
