"""Runs a plan, each run in a process and a folder of its own.

ur4rec benchmark properties/benchmark.yaml --output runs/benchmark          (or: make bench)
ur4rec benchmark --models UR4Rec,SASRec,Pop --dataset ml-100k --seeds 5
ur4rec benchmark --tune                    searches the baseline's setting on validation first

plan.py -> jobs -> a process each (benchmark_run.py) -> run folders -> benchmark_page.py. A run
that is done is skipped; one that was killed goes on after its last whole epoch, where the model is
UR4Rec or one of RecBole's sequential ones; others and those that failed start anew; a failure stops
no other.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock, read_json, write_json
from ur4rec_recbole.datasets import synthetic
from ur4rec_recbole.experiments.benchmark_job import interrupted, pretraining
from ur4rec_recbole.experiments.plan import Entry, Job, Plan
from ur4rec_recbole.runs.folder import RunFolder


def choose(plan: Plan, models: str | None, dataset: str | None) -> Plan:
    """Narrow a plan; a model that it does not have runs with RecBole's defaults."""
    entries = list(plan.entries)
    if models:
        entries = []
        for name in models.split(","):
            found = [each for each in plan.entries if name == each.name]
            found = found or [each for each in plan.entries if name == each.model]
            entries += found or [Entry(name, name, seeds=plan.seeds)]
    return replace(plan, entries=tuple(entries), dataset=dataset or plan.dataset)


def execute(plan: Plan, output: Path, at_a_time: int = 1) -> int:
    """Run what is not done yet; return how many runs failed."""
    cores = os.cpu_count() or 1
    if not 1 <= at_a_time <= cores:
        raise InputError("--jobs", f"must be in [1, {cores}]", at_a_time, "Choose fewer.")
    jobs = plan.jobs()
    output.mkdir(parents=True, exist_ok=True)
    refusal = InputError(
        f"Folder {output}", "must be free", "one that another benchmark is running in",
        "Wait for it or name another --output.",
    )  # fmt: skip
    with exclusive_lock(output / ".lock", refusal):  # two would remove each other's runs
        _write_index(plan, jobs, output)
        waiting = [job for job in jobs if not done(job, output)]
        print(f"{output}: {len(jobs)} runs, {len(jobs) - len(waiting)} done", flush=True)
        with ThreadPoolExecutor(at_a_time) as pool:
            try:
                ends = list(pool.map(lambda job: start(job, output, cores // at_a_time), waiting))
            except KeyboardInterrupt:
                os._exit(130)  # the runs end with us
    return sum(not ended for ended in ends)


def done(job: Job, output: Path) -> bool:
    """Tell whether a run has ended well; `InputError` if it was made with other settings."""
    folder, file = output / job.id, _job_file(job, output)
    if not (folder / "run.json").exists() or RunFolder.open(folder).about["status"] != "done":
        return False
    if not _same(file, job.description()):
        raise InputError(
            f"Run {folder}", "must have been made as the plan says", "other settings",
            "Name another --output, or remove the folder to run it again.",
        )  # fmt: skip
    return True


def start(job: Job, output: Path, threads: int) -> bool:
    """Run one job in a process of its own; return whether it ended well."""
    folder, file = output / job.id, _job_file(job, output)
    description = job.description()
    same = _same(file, description)
    if not same:
        shutil.rmtree(pretraining(folder), ignore_errors=True)
    if not (same and interrupted(folder)):
        shutil.rmtree(folder, ignore_errors=True)
    write_json(file, description)
    words = [
        sys.executable,
        "-m",
        "ur4rec_recbole.experiments.benchmark_job",
        str(file),
        str(folder),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    log = file.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*words, str(threads)], stdin=subprocess.PIPE, stdout=stream, stderr=stream,
            env=environment,
        )  # fmt: skip
        code = process.wait()
    if code:
        _record_failure(folder, log, code)
    print(f"{job.id}: {'done' if not code else f'failed, see {log}'}", flush=True)
    return code == 0


def _same(file: Path, description: dict[str, Any]) -> bool:
    return read_json(file) == json.loads(json.dumps(description))


def _record_failure(folder: Path, log: Path, code: int) -> None:
    """Keep the traceback, which is at the end of the log, where the report finds it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = text.rfind("Traceback (most recent call last)")
    why = text[found:] if found >= 0 else f"{text[-2000:]}\nended with exit code {code}"
    write_json(log.with_suffix(".failed.json"), {"code": code, "traceback": why.strip()})
    if (folder / "run.json").exists():
        RunFolder.open(folder).mark("failed")


def _job_file(job: Job, output: Path) -> Path:
    return output / "jobs" / f"{job.id}.json"


def _write_index(plan: Plan, jobs: Sequence[Job], output: Path) -> None:
    """Say which folder is whose, for the report; what is not of this plan but was run stays."""
    for job in jobs:
        (output / "jobs" / f"{job.id}.failed.json").unlink(missing_ok=True)
    entries = {entry.name: entry.model for entry in plan.entries}
    runs = {job.id: job.entry for job in jobs}
    baseline, file = plan.baseline, output / "benchmark.json"
    before = read_json(file) or {}
    if before.get("dataset") == plan.dataset:
        if not before["entries"].keys() <= entries.keys():
            entries = before["entries"] | entries  # else in the order of the plan, which has all
        begun = {path.stem for path in (output / "jobs").glob("*.json")}
        runs = {name: of for name, of in before["runs"].items() if name in begun} | runs
        baseline = baseline or before["baseline"]
    write_json(
        file, {"dataset": plan.dataset, "baseline": baseline, "entries": entries, "runs": runs}
    )


def on_synthetic_data(plan: Plan, folder: Path, size: synthetic.Size | None = None) -> Plan:
    """Return the plan on made-up data, written below `folder` where they are missing."""
    own = {
        **synthetic.location(folder, size), "item_image_table": None, "user_profile_table": None
    }  # fmt: skip
    entries = tuple(replace(each, settings={**each.settings, **own}) for each in plan.entries)
    return replace(plan, dataset=synthetic.NAME, entries=entries)
