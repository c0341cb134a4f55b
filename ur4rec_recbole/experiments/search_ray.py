"""The engine Ray Tune: trials wherever a cluster has room; with one machine, on its cores.

Values are drawn at random, and Ray's median rule ends a trial whose best score so far is worse than
the mean of the others'. Ray keeps its state in ray/ below the search's folder, which all machines
must see under the same name, as they must the data. A trial that was killed goes on in its folder.
"""

import importlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import read_json, write_json
from ur4rec_recbole.core.processes import termination_raises
from ur4rec_recbole.experiments import space
from ur4rec_recbole.experiments.search import STAGE, Search, Trial, train
from ur4rec_recbole.runs.folder import RunFolder
from ur4rec_recbole.runs.keeping import Pruned

TRIALS = "ray.json"  # how many trials the search has


def _tune() -> Any:
    """Import ray.tune, whose names differ by version."""
    return importlib.import_module("ray.tune")


def require_ray() -> Any:
    """Return Ray; `InputError` where there is none, or an old one, as RecBole requires."""
    found, version = "none", ""
    try:
        import ray

        tune = _tune()

        found, version = "an older one", f" ({ray.__version__})"
        if all(hasattr(tune, name) for name in ("RunConfig", "get_context", "report")):
            return ray
    except ImportError as error:
        found = f"none ({error})"
    raise InputError(
        "--engine ray", "needs a current Ray (2.60.0 is tested)", found + version,
        "Run `pip install 'ray[tune]==2.60.0'`, which runs beside RecBole though it asks for "
        "ray <= 2.6.3; or leave the engine out.",
    )  # fmt: skip


def run(search: Search, folder: Path, total: int, jobs: int) -> tuple[Sequence[Trial], int]:
    """Run trials until there are `total`; return all of them and how many failed."""
    ray = require_ray()
    if jobs < 1:
        raise InputError("--jobs", "must be at least 1", jobs, "Raise it.")
    before = read_json(folder / TRIALS)
    if before not in (None, total):
        raise InputError(
            "--trials", "must stay as it was: Ray Tune cannot extend a search", total,
            f"Write --trials {before}, or name another --output.",
        )  # fmt: skip
    write_json(folder / TRIALS, total)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends the command
    try:
        ray.init(include_dashboard=False)
        with termination_raises():  # ray has put a handler of its own in place
            found = _tuner(ray, search, folder, total, jobs).fit()
        trials = [_trial(search, folder, each) for each in found]
    finally:
        ray.shutdown()
    return trials, sum(each.status == "failed" for each in trials)


def _tuner(ray: Any, search: Search, folder: Path, total: int, jobs: int) -> Any:
    """Return Ray's tuner: a new one, or the one that was interrupted."""
    tune = _tune()

    share = _share([each["Resources"] for each in ray.nodes() if each["Alive"]], jobs)
    work = tune.with_parameters(
        _work, search=search, folder=folder.absolute(), home=Path.cwd(), threads=share["cpu"]
    )
    work, kept = tune.with_resources(work, share), folder.absolute() / "ray"
    if tune.Tuner.can_restore(str(kept)):
        return tune.Tuner.restore(str(kept), trainable=work, resume_unfinished=True)
    mode = "max" if search.bigger else "min"
    rule = tune.schedulers.MedianStoppingRule(
        time_attr="step", metric="score", mode=mode, grace_period=search.warmup,
        min_samples_required=search.startup,
    )  # fmt: skip
    drawn = tune.search.basic_variant.BasicVariantGenerator(
        random_state=search.seed, max_concurrent=jobs
    )
    return tune.Tuner(
        work,
        param_space={key: _domain(each) for key, each in search.drawable().items()},
        tune_config=tune.TuneConfig(
            num_samples=total, search_alg=drawn, scheduler=rule,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(name=kept.name, storage_path=str(kept.parent), verbose=1),
    )  # fmt: skip


def _share(machines: Sequence[Mapping[str, float]], jobs: int) -> dict[str, int]:
    """Return what a trial gets of a machine, where so many run on all machines together."""
    each = math.ceil(jobs / max(len(machines), 1))
    cores = min((int(machine.get("CPU", 1)) for machine in machines), default=1)
    cards = any(machine.get("GPU") for machine in machines)
    return {"cpu": max(1, cores // each), "gpu": int(cards)}


def _work(drawn: dict[str, Any], search: Search, folder: Path, home: Path, threads: int) -> None:
    """Run one trial in a process of Ray's, which ends it where its rule says so."""
    tune = _tune()

    os.chdir(home)
    torch.set_num_threads(threads)
    last = 0

    def worthless(step: int, score: float) -> bool:
        nonlocal last
        last = step
        try:
            tune.report({"score": score, "step": step})
        except SystemExit:  # so Ray ends a trial
            return True
        return False

    own = folder / "trials" / tune.get_context().get_trial_id()
    try:
        score = train(search, space.values(search.drawable(), drawn), own, worthless)
    except Pruned:
        raise SystemExit from None
    tune.report({"score": score, "step": last + STAGE, "ended": True})


def _trial(search: Search, folder: Path, found: Any) -> Trial:
    """Return a trial; one that Ray has ended early is marked so in its folder."""
    name, measured = Path(found.path).name, found.metrics or {}
    ended = bool(measured.get("ended"))
    status = "failed" if found.error else "done" if ended else "pruned"
    if status == "pruned" and (folder / "trials" / name / "run.json").exists():
        RunFolder.open(folder / "trials" / name).mark("pruned")
    values = space.values(search.drawable(), found.config)
    return Trial(name, status, measured.get("score"), values)


def _domain(dimension: space.Range | space.Choices) -> Any:
    tune = _tune()

    if isinstance(dimension, space.Choices):
        return tune.choice(list(dimension.by_label))
    low, high = dimension.low, dimension.high
    if dimension.whole:  # Ray leaves the upper end out
        return (tune.lograndint if dimension.log else tune.randint)(int(low), int(high) + 1)
    return (tune.loguniform if dimension.log else tune.uniform)(low, high)
