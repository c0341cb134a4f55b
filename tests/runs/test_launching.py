"""Processes that end apart: a result that was told is one, whatever becomes of the others."""

import os
import time
from pathlib import Path

import psutil
import pytest
from torch.multiprocessing import ProcessExitedException

from ur4rec_recbole.runs.group import Group, settings_of_place
from ur4rec_recbole.runs.launching import train_together
from ur4rec_recbole.runs.result import RunResult

BOTH = Group(nproc=2, world_size=2, ip="localhost", port="0", offset=0)


def result_and_an_abort(folder: Path) -> RunResult:
    """End with a result in the first process; abort in the other once that one is gone."""
    file = folder / "pid"
    if settings_of_place()["local_rank"] == 0:
        (folder / "new").write_text(str(os.getpid()))
        (folder / "new").replace(file)
        return RunResult(None, {}, folder, [], {})
    while not file.exists():
        time.sleep(0.01)
    first = int(file.read_text())
    while psutil.pid_exists(first) and psutil.Process(first).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    os.abort()


def abort(folder: Path) -> RunResult:
    os.abort()


def test_a_process_that_aborts_when_all_is_done_takes_nothing_from_the_run(tmp_path: Path) -> None:
    assert train_together(result_and_an_abort, BOTH, {"folder": tmp_path}).folder == tmp_path


def test_a_process_that_aborts_before_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ProcessExitedException, match="SIGABRT"):
        train_together(abort, BOTH, {"folder": tmp_path})
