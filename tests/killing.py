"""Killing a process at a chosen moment, as kill -9 would."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

Arm = Callable[[pytest.MonkeyPatch], None]


def die(work: Callable[[], Any], patch: pytest.MonkeyPatch, arm: Arm) -> None:
    """Work in a child process that kills itself where `arm` has patched it to."""
    child = os.fork()
    if not child:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            arm(patch)
            work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def dying_at(owner: Any, name: str, count: int) -> Arm:
    """Return what kills the process at the count-th call of a function."""

    def arm(patch: pytest.MonkeyPatch) -> None:
        calls, function = 0, getattr(owner, name)

        def dying(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        patch.setattr(owner, name, dying)

    return arm
