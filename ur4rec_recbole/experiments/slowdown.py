"""What can make a training's steps slower and slower, each cause reproduced small on this machine.

python -m ur4rec_recbole.experiments.slowdown

The project's first version went from 46 to 7,287 s an iteration. Its code is lost; which of the
usual causes can grow so far, and which cannot, is what this measures.
"""

import statistics
import sys
import time
from collections.abc import Callable

import psutil
import torch
from torch import nn

STEPS, EDGE = 120, 10  # of which the first and the last few are compared
WIDTH, ROWS = 256, 512
DENORMAL = 1e-40


def main() -> int:
    """Print a line a cause."""
    torch.manual_seed(2020)
    causes: dict[str, Callable[[], Callable[[int], None]]] = {
        "a sound step": _sound,
        "work that grows: the state of a step is kept in the graph of the next": _growing_graph,
        "memory that grows: every step's scores are kept": _growing_memory,
        "denormal numbers from the middle on": _denormals,
    }
    print(f"{torch.get_num_threads()} threads, {STEPS} steps, medians of the first and last {EDGE}")
    for name, make in causes.items():
        seconds, grown = _seconds(make())
        first, last = (statistics.median(part) for part in (seconds[2 : EDGE + 2], seconds[-EDGE:]))
        print(
            f"{name:75} {first * 1e3:6.1f} -> {last * 1e3:7.1f} ms, {last / first:5.1f} times, "
            f"{grown / 1e6:+7.0f} MB"
        )
    return 0


def _seconds(step: Callable[[int], None]) -> tuple[list[float], int]:
    """Return the seconds of each step, and by how much the process has grown."""
    process, spent = psutil.Process(), []
    before = process.memory_info().rss
    for number in range(STEPS):
        began = time.perf_counter()
        step(number)
        spent.append(time.perf_counter() - began)
    return spent, process.memory_info().rss - before


def _model() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))), torch.randn(
        ROWS, WIDTH
    )


def _sound() -> Callable[[int], None]:
    model, rows = _model()

    def step(_: int) -> None:
        model(rows).square().mean().backward()

    return step


def _growing_graph() -> Callable[[int], None]:
    model, rows = _model()
    state = rows

    def step(_: int) -> None:
        nonlocal state
        state = model(state).tanh()
        state.square().mean().backward(retain_graph=True)

    return step


def _growing_memory() -> Callable[[int], None]:
    model, rows = _model()
    kept = []

    def step(_: int) -> None:
        scores = model(rows)
        scores.square().mean().backward()
        kept.append(scores.detach())

    return step


def _denormals() -> Callable[[int], None]:
    model, rows = _model()

    def step(number: int) -> None:
        scale = DENORMAL if number >= STEPS // 2 else 1.0
        model(rows * scale).sum().backward()

    return step


if __name__ == "__main__":
    sys.exit(main())
