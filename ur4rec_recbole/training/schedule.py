"""How the learning rates of a stage rise in its first steps and fall until its end."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def factor(n_steps: int, n_warmup: int, decay: str) -> Callable[[int], float]:
    """Return the factor on the rates at each step.

    Parameters
    ----------
    n_steps
        Steps of the stage, if it does not stop early.
    n_warmup
        The first steps, in which the rates rise in equal parts (Vaswani et al. 2017, section 5.3).
    decay
        constant, or cosine: down to a hundredth at the end (Loshchilov and Hutter 2017, section 3).
    """

    def at(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        if decay == "constant":
            return 1.0
        progress = min((step - n_warmup) / max(n_steps - n_warmup, 1), 1.0)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2

    return at


def follow(optimizer: Optimizer, rates: list[float], at: Callable[[int], float], done: int) -> None:
    """Let the optimizer follow a schedule from step `done` on.

    Parameters
    ----------
    optimizer
        Of one stage.
    rates
        The full rate of each of its parameter groups.
    at
        The factor at each step.
    done
        Steps that the stage has behind it: more than 0 where it goes on after a break.
    """
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = group["initial_lr"] = rate
    scheduler = LambdaLR(optimizer, at, last_epoch=done - 1)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
