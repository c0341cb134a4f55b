"""Starts the processes of a group, waits for them and ends them together.

As RecBole's launcher does, by torch.multiprocessing; each runs what one process would run, and
finds its place in its configuration. The first one writes, logs and returns the result.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

import torch
from torch import multiprocessing

from ur4rec_recbole.core.collective import leave
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.processes import Terminated, exit_with_parent, termination_raises
from ur4rec_recbole.registration import register
from ur4rec_recbole.runs.group import Group, take_place

POLL = 0.2  # seconds
GRACE = 1.0  # for the first process to hear of a signal that the terminal has sent to all
MARKING = 60.0  # seconds that the first process may take to end in order


def train_together(run: Any, group: Group, call: Mapping[str, Any]) -> Any:
    """Call `run` in every process of a group on this machine; return the first one's result.

    Ctrl-C and SIGTERM end all. An `InputError` of any process is raised here.

    Parameters
    ----------
    run
        A function of a module that returns a `RunResult`.
    group
        Which processes.
    call
        The arguments by name.
    """
    told = get_context("spawn").SimpleQueue()
    threads = max(torch.get_num_threads() // group.nproc, 1)
    context = multiprocessing.spawn(
        _work, (run, group, dict(call), told, threads), group.nproc, join=False
    )
    outcome: list[Any] = []
    try:
        while not context.join(POLL) and not _ended_early(outcome):
            _listen(told, outcome)
    except KeyboardInterrupt as error:
        _end_in_order(context, told, error)
        _listen(told, outcome)
        outcome = [each for each in outcome if isinstance(each, KeyboardInterrupt)] or [error]
    except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException):
        _listen(told, outcome)  # `join` has ended the first one by SIGTERM, which says nothing
        outcome = [each for each in outcome if not isinstance(each, Terminated)]
        if not outcome:  # else the run has ended, whatever became of a process afterwards
            raise
    finally:
        _kill(context)
    _listen(told, outcome)
    if outcome and isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _ended_early(outcome: Sequence[Any]) -> bool:
    return any(isinstance(each, BaseException) for each in outcome)


def _listen(told: Any, outcome: list[Any]) -> None:
    """Take what processes have told; errors come first."""
    while not told.empty():
        outcome.append(told.get())
    outcome.sort(key=lambda each: not isinstance(each, BaseException))


def _end_in_order(context: Any, told: Any, error: KeyboardInterrupt) -> None:
    """Let the first process mark its run, if the terminal's Ctrl-C has not reached it."""
    first = context.processes[0]
    wait([first.sentinel], GRACE)
    if first.is_alive() and told.empty():
        os.kill(first.pid, signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    wait([first.sentinel], MARKING)


def _kill(context: Any) -> None:
    for process in context.processes:
        if process.is_alive():
            process.kill()
        process.join()


def _work(
    local_rank: int, run: Any, group: Group, call: dict[str, Any], told: Any, threads: int
) -> None:
    """Be one process of a group."""
    if local_rank:  # the first one hears of Ctrl-C, marks the run, and all are ended
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        parent = parent_process()
        assert parent is not None
        exit_with_parent(parent.join)
    torch.set_num_threads(threads)
    register()
    take_place(group, local_rank)
    try:
        if local_rank:
            run(**call)
            leave()
            # Its part is done; torch's threads may abort a process that tears itself down.
            os._exit(0)
        with termination_raises():
            result = run(**call)
        told.put(replace(result, model=None))
    except (InputError, KeyboardInterrupt) as error:
        told.put(error)
        raise
    finally:
        leave()
