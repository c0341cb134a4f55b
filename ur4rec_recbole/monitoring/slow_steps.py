"""Slow steps: which they are, and what made them slow.

Monitor asks after every step. A look at the clocks costs about 0.1 ms; the diagnosis is made once.
"""

import resource
import statistics
import time
from collections import deque
from typing import Any, NamedTuple

import psutil
import torch

from ur4rec_recbole.monitoring.findings import Finding

LEAST_STEPS = 10  # before a median means anything
WINDOW = 200  # steps that the running median looks back
LEAST_LOSS = 1.0  # seconds per epoch; smaller losses of time are not reported
PAGED = 100  # page faults that had to read the disk
SCARCE = 0.05  # of memory left
BUSY = 0.5  # cores


class Usage(NamedTuple):
    """Clocks at one moment, in seconds, and the page faults that read the disk."""

    wall: float
    own: float
    busy: float
    faults: int

    @classmethod
    def now(cls) -> "Usage":
        """Read them: wall clock, this process's and the whole machine's processor time."""
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        busy -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        return cls(time.perf_counter(), time.process_time(), busy, faults)


class SlowSteps:
    """Finds steps that take `factor` times the running median.

    Parameters
    ----------
    factor
        k. Steps below k times the median are noise.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.seconds: deque[float] = deque(maxlen=WINDOW)
        self.lost = 0.0  # seconds of this epoch beyond the median, in slow steps
        self.usual: deque[float] = deque(maxlen=WINDOW)  # cores used in ordinary steps
        self.last: Usage | None = None

    def new_epoch(self) -> None:
        """Reset the clock: the time between two epochs is not a step."""
        self.last, self.lost = None, 0.0

    def step(self, model: Any) -> Finding | None:
        """Take note of a step that has ended; return a finding where it is one too slow."""
        now, before = Usage.now(), self.last
        self.last = now
        if before is None:
            return None
        took = now.wall - before.wall
        median = statistics.median(self.seconds) if len(self.seconds) >= LEAST_STEPS else None
        self.seconds.append(took)
        cores = (now.own - before.own) / max(took, 1e-9)
        if median is None or took < self.factor * median:
            self.usual.append(cores)
            return None
        self.lost += took - median
        if self.lost < LEAST_LOSS:
            return None
        cause, advice, seen = explain(before, now, statistics.median(self.usual or [1.0]), model)
        return Finding(
            "slow_steps",
            f"a step took {took:.2f} s, {took / median:.0f} times the median of {median:.3f} s; "
            f"slow steps have cost {self.lost:.1f} s of this epoch; {seen}",
            cause,
            advice,
        )


def explain(before: Usage, now: Usage, usual: float, model: Any) -> tuple[str, str, str]:
    """Tell what made the time between two moments long: cause, advice, evidence.

    Parameters
    ----------
    before, now
        The moments.
    usual
        Cores that this process uses in an ordinary step.
    model
        Searched for denormal numbers.
    """
    wall = max(now.wall - before.wall, 1e-9)
    own = (now.own - before.own) / wall
    others = max((now.busy - before.busy) / wall - own, 0.0)
    faults = now.faults - before.faults
    memory = psutil.virtual_memory()
    free = memory.available / memory.total
    seen = (
        f"this process used {own:.1f} cores ({usual:.1f} is usual), others {others:.1f} of "
        f"{psutil.cpu_count()}; {faults} pages read from disk, {free:.0%} of memory free"
    )
    if faults > PAGED or free < SCARCE:
        what = "The machine swaps" if faults > PAGED else "Memory runs out"
        advice = "Lower train_batch_size or hidden_size, or close other programs."
        return f"{what}: memory pressure.", advice, seen
    if own < 0.5 * usual:
        if others >= BUSY:
            return "Another process takes the processor.", "Wait for it, or stop it.", seen
        advice = "Check the disk and the data loader (worker), and whether the machine slept."
        return "This process waited for something other than the processor.", advice, seen
    share = denormal_share(model)
    if share > 0:
        cause = "Denormal numbers slow the processor's arithmetic."
        advice = "Call torch.set_flush_denormal(True) before training."
        return cause, advice, f"{seen}; {share:.2%} of weights and gradients are denormal"
    advice = "Check processor temperature and limits, and the lengths of the batch's sequences."
    return "The same work took the processor longer.", advice, seen


@torch.no_grad()
def denormal_share(model: Any) -> float:
    """Return the share of weights and gradients that are denormal numbers."""
    found = total = 0
    for parameter in model.parameters():
        for values in (parameter, parameter.grad):
            if values is None or values.layout != torch.strided:
                continue
            bits = values.detach().abs()
            least = torch.finfo(bits.dtype).tiny
            found += int(((bits > 0) & (bits < least)).sum())
            total += bits.numel()
    return found / max(total, 1)
