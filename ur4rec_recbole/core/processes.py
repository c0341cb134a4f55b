"""How processes end."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import Any


class Terminated(KeyboardInterrupt):
    """Raised where the process is asked to end by SIGTERM, as Ctrl-C raises its own."""


@contextmanager
def termination_raises() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, so that what is open is closed; in the main thread only."""

    def end(*_: Any) -> None:
        raise Terminated

    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_with_parent(wait: Callable[[], object]) -> None:
    """Exit at once when `wait`, called in a thread of its own, returns.

    For a worker process whose parent may be killed without warning.
    """

    def end() -> None:
        wait()
        os._exit(1)

    Thread(target=end, daemon=True).start()
