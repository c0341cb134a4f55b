"""The engine Optuna: a study in SQLite, each trial in a process of its own (search_trial.py).

This process draws (a tree-structured Parzen estimator), the trials' processes report their epochs
to the study and ask its pruner, which ends a trial whose best score so far is worse than the median
of the others' at the same epoch of the same stage. A trial that was killed or interrupted stays
"running" in the study: the next start goes on with it.
"""

import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from ur4rec_recbole.core.errors import needs
from ur4rec_recbole.experiments import apart, space
from ur4rec_recbole.experiments.search import Search, Trial
from ur4rec_recbole.runs.resuming import unfinished

with needs("optuna", "to search settings", "tune"):
    import optuna
    from optuna.trial import TrialState

NAME = "search"
WAIT = 120  # seconds for another process to finish writing to the study
INTERRUPTED = 130  # exit code of a trial that SIGTERM or Ctrl-C has ended
STATUSES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def open_storage(folder: Path) -> optuna.storages.RDBStorage:
    """Open the study's file, made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.RDBStorage(
        f"sqlite:///{folder.absolute() / 'study.sqlite'}",
        engine_kwargs={"connect_args": {"timeout": WAIT}},
    )


def open_study(search: Search, storage: optuna.storages.RDBStorage) -> optuna.Study:
    """Open the study of a storage, made where there is none."""
    return optuna.create_study(
        study_name=NAME, storage=storage, load_if_exists=True,
        direction="maximize" if search.bigger else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=search.startup),
    )  # fmt: skip


class Trials:
    """The processes of a study's trials: `run` starts the missing ones, so many at a time."""

    def __init__(self, search: Search, folder: Path, jobs: int) -> None:
        self.search, self.folder, self.jobs = search, folder, jobs
        self.threads = apart.threads_each(jobs)
        self.study = open_study(search, open_storage(folder))
        self._lock = Lock()  # of drawing, and of starting and ending processes
        self._running: set[subprocess.Popen[bytes]] = set()
        self._over = False

    def run(self, total: int) -> int:
        """Run trials until there are `total`; return how many failed or were killed."""
        old = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        missing = max(total - len(self.study.trials), 0)
        waiting: list[int | None] = [trial.number for trial in old]
        waiting += [None] * missing
        ended = len(self.study.trials) - len(old)
        print(f"{self.folder}: {ended + len(waiting)} trials, {ended} ended", flush=True)
        with ThreadPoolExecutor(self.jobs) as pool:
            ends = [pool.submit(self._one, number) for number in waiting]
            try:
                return sum(not each.result() for each in ends)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._end()
                raise

    def _end(self) -> None:
        """Let the running trials mark their folders and end; no other begins."""
        with self._lock:
            self._over = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)

    def _one(self, number: int | None) -> bool:
        """Run one trial, a new one where there is no number; return whether it ended well."""
        with self._lock:
            if self._over:
                return True
            number = self._draw() if number is None else number
            log = self.folder / "trials" / f"{number:04d}.log"
            process = apart.start(
                "ur4rec_recbole.experiments.search_trial",
                [str(self.folder), str(number)], log, self.threads,
            )  # fmt: skip
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.discard(process)
            if self._over:
                return True
            return self._told(number, code, log)

    def _told(self, number: int, code: int, log: Path) -> bool:
        """Say how a trial has ended; one that raised an error and cannot go on has failed."""
        # A run that could not write its end, as on a full disk, can go on like one interrupted.
        if code > 0 and code != INTERRUPTED and not unfinished(log.with_suffix("")):
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        trial = self.study.trials[number]
        status = STATUSES[trial.state]
        if status == "running":
            how = f"ended by signal {-code}" if code < 0 else "interrupted"
            status = f"{how}; start again to go on"
        if code:
            status += f", see {log}"
        score = "" if trial.value is None else f", {self.search.metric} {trial.value:.4f}"
        print(f"trial {number:04d}: {status}{score}", flush=True)
        return code == 0

    def _draw(self) -> int:
        """Draw the values of a new trial; a search that was killed draws what it would have."""
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.search.startup,
            constant_liar=self.jobs > 1,
            seed=(self.search.seed + len(self.study.trials)) % 2**32,
        )
        drawn = {key: _distribution(each) for key, each in self.search.drawable().items()}
        return self.study.ask(drawn).number


def run(search: Search, folder: Path, total: int, jobs: int) -> tuple[Sequence[Trial], int]:
    """Run trials until there are `total`; return all of them and how many of this call failed."""
    trials = Trials(search, folder, jobs)
    failed = trials.run(total)
    return [_trial(search, each) for each in trials.study.trials], failed


def _trial(search: Search, found: optuna.trial.FrozenTrial) -> Trial:
    values = space.values(search.drawable(), found.params)
    in_order = {key: values[key] for key in search.dimensions}
    return Trial(f"{found.number:04d}", STATUSES[found.state], found.value, in_order)


def _distribution(dimension: space.Range | space.Choices) -> Any:
    if isinstance(dimension, space.Choices):
        return optuna.distributions.CategoricalDistribution(list(dimension.by_label))
    if dimension.whole:
        low, high = int(dimension.low), int(dimension.high)
        return optuna.distributions.IntDistribution(low, high, log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
