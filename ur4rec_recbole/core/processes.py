"""Ends a process that has lost the one it works for, which may have been killed without a word."""

import os
from collections.abc import Callable
from threading import Thread


def exit_with_parent(wait: Callable[[], object]) -> None:
    """Exit at once when `wait`, called in a thread of its own, returns."""

    def end() -> None:
        wait()
        os._exit(1)

    Thread(target=end, daemon=True).start()
