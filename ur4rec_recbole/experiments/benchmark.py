"""Runs a plan, each run in a process and a folder of its own.

ur4rec benchmark properties/benchmark.yaml --output runs/benchmark          (or: make bench)
ur4rec benchmark --models UR4Rec,SASRec,Pop --dataset ml-100k --seeds 5
ur4rec benchmark --tune                    searches the rivals' settings on validation first

plan.py -> jobs -> a process each (benchmark_job.py) -> run folders -> benchmark_page.py. A run
that is done is skipped; one that was interrupted goes on after its last whole epoch, where the
model is UR4Rec or one of RecBole's sequential ones; others and failed ones start anew. A failure
does not stop the other runs. Runs with other settings stay where they are and are not shown.
"""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import exclusive_lock, read_json, require_writable, write_json
from ur4rec_recbole.core.shapes import Maybe, check
from ur4rec_recbole.datasets import synthetic
from ur4rec_recbole.experiments import apart
from ur4rec_recbole.experiments.benchmark_job import pretraining
from ur4rec_recbole.experiments.jobs import (
    INDEX,
    Entry,
    Job,
    data_digest,
    digest,
    has_same_data,
    is_same,
)
from ur4rec_recbole.experiments.plan import Plan, check_configurations
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.resuming import unfinished


def choose(plan: Plan, models: str | None, dataset: str | None) -> Plan:
    """Narrow a plan; a model that it does not have runs with RecBole's defaults."""
    entries = list(plan.entries)
    if models:
        entries = []
        for name in dict.fromkeys(models.split(",")):
            found = [each for each in plan.entries if name == each.name]
            found = found or [each for each in plan.entries if name == each.model]
            entries += found or [Entry(name, name, seeds=plan.seeds)]
        starts = {each.start_from for each in entries}
        entries += [each for each in plan.entries if each.name in starts and each not in entries]
    return replace(plan, entries=tuple(entries), dataset=dataset or plan.dataset)


def execute(plan: Plan, output: Path, at_a_time: int = 1) -> int:
    """Run what is not done yet; return how many runs failed."""
    threads = apart.threads_each(at_a_time)
    check_configurations(plan)
    require_writable("--output", output)
    refusal = InputError(
        f"Folder {output}", "must be free", "one that another benchmark is running in",
        "Wait for it or name another --output.",
    )  # fmt: skip
    with exclusive_lock(output / ".lock", refusal):  # two would remove each other's runs
        jobs = with_folders(plan.jobs(), output)
        _write_index(plan, jobs, output)
        waiting = [job for job in jobs if not _is_done(output / job.id)]
        print(f"{output}: {len(jobs)} runs, {len(jobs) - len(waiting)} done", flush=True)
        with ThreadPoolExecutor(at_a_time) as pool:
            try:
                ends = list(pool.map(lambda job: start(job, output, threads), waiting))
            except KeyboardInterrupt:
                print(f"{output}: interrupted; the same command goes on from here", file=sys.stderr)
                sys.stderr.flush()
                os._exit(130)  # the runs' processes end with this one
    return sum(not ended for ended in ends)


def with_folders(jobs: Sequence[Job], output: Path) -> list[Job]:
    """Assign each run its existing folder or a free one, and record which run is where.

    A folder is named by entry and seed, and by digests of the settings and the data too where
    another run (of other settings or data, or of an entry with a similar name) has that name.
    """
    found: dict[str, Job] = {}
    for job in jobs:
        own = job.description()
        short = f"{job.id}-{digest(own)[:8]}"
        names = [job.id, short, f"{short}-{data_digest(own)[:8]}"]
        names = [name for name in names if name not in found]
        same = [name for name in names if is_same(_recorded(output, name), own)]
        free = [name for name in names if _is_free(output, name)]
        name = (same or free or names[-1:])[0]
        found[name] = replace(job, id=name)
        if not same:
            for old in (output / name, pretraining(output / name)):
                shutil.rmtree(old, ignore_errors=True)  # of a failed run
        write_json(_job_file(output, name), found[name].description())
    return list(found.values())


def _recorded(output: Path, name: str) -> dict[str, Any] | None:
    found = read_json(_job_file(output, name))
    return found if isinstance(found, dict) else None


def _is_free(output: Path, name: str) -> bool:
    """Tell whether a run may have this folder: there is none, or it is of a failed run of ours."""
    folder = output / name
    if not (folder / "run.json").exists():
        return not folder.exists() or _recorded(output, name) is not None
    return RunFolder.open(folder).about["status"] == "failed"


def _is_done(folder: Path) -> bool:
    return (folder / "run.json").exists() and RunFolder.open(folder).about["status"] == "done"


def start(job: Job, output: Path, threads: int) -> bool:
    """Run one job in a process of its own; return whether it ended well."""
    folder, file = output / job.id, _job_file(output, job.id)
    if not unfinished(folder):
        shutil.rmtree(folder, ignore_errors=True)
    module = "ur4rec_recbole.experiments.benchmark_job"
    log = file.with_suffix(".log")
    code = apart.start(module, [str(file), str(folder)], log, threads).wait()
    if code:
        _record_failure(folder, log, code)
    said = f"failed, see {log}" if code > 0 else f"ended by {_signal(code)}; start again to go on"
    print(f"{job.id}: {said if code else 'done'}", flush=True)
    return code == 0


def _signal(code: int) -> str:
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def _record_failure(folder: Path, log: Path, code: int) -> None:
    """Keep the traceback, which is at the end of the log, where the report finds it.

    A run that a signal ended (memory ran out, the machine went down) has not failed: it can go on.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    found = text.rfind("Traceback (most recent call last)")
    why = text[found:] if found >= 0 else f"{text[-2000:]}\nended with exit code {code}"
    write_json(log.with_suffix(".failed.json"), {"code": code, "traceback": why.strip()})
    if code > 0 and (folder / "run.json").exists():
        run = RunFolder.open(folder)
        if run.about["status"] == "running":
            run.mark("failed")


def _job_file(output: Path, name: str) -> Path:
    return output / "jobs" / f"{name}.json"


def _write_index(plan: Plan, jobs: Sequence[Job], output: Path) -> None:
    """Write the index that tells the report which run is in which folder.

    Earlier runs that are not in this plan stay listed, unless their entry has other settings now,
    or the data have changed.
    """
    for job in jobs:
        (output / "jobs" / f"{job.id}.failed.json").unlink(missing_ok=True)
    entries = {entry.name: entry.model for entry in plan.entries}
    runs = {job.id: job.entry for job in jobs}
    baseline, file = plan.baseline, output / "benchmark.json"
    before = (
        check(read_json(file), Maybe(INDEX), file, "Remove it, or name another --output.") or {}
    )
    if before.get("dataset") == plan.dataset:
        if not before["entries"].keys() <= entries.keys():
            entries = before["entries"] | entries  # else in the order of the plan, which has all
        own = {job.entry: job.description() for job in jobs}
        there = [each for each in own.values() if each["data"]]

        def stays(name: str, of: str) -> bool:
            made = _recorded(output, name)
            if of in own:
                return is_same(made, own[of])
            if not made:
                return False
            return not there or any(has_same_data(made, each) for each in there)

        runs = {name: of for name, of in before["runs"].items() if stays(name, of)} | runs
        baseline = baseline or before["baseline"]
    groups = (before.get("groups") or {}) | {
        entry.name: entry.group for entry in plan.entries if entry.group
    }
    made = {"dataset": plan.dataset, "baseline": baseline, "entries": entries, "runs": runs}
    write_json(file, made | {"groups": {name: groups[name] for name in entries if name in groups}})


def on_synthetic_data(plan: Plan, folder: Path, size: synthetic.Size | None = None) -> Plan:
    """Return the plan on made-up data, written below `folder` where they are missing."""
    own = {
        **synthetic.location(folder, size), "item_image_table": None, "user_profile_table": None
    }  # fmt: skip
    entries = tuple(replace(each, settings={**each.settings, **own}) for each in plan.entries)
    return replace(plan, dataset=synthetic.NAME, entries=entries)
