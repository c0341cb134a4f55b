"""Predicts what a training would do, before it starts: behind `ur4rec doctor`.

Loads data and tables as a run does (and fails as a run does where they do not fit), counts
parameters and multiplications, times a few steps of every stage on this machine and warns of
settings that are known to fail.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from ur4rec_recbole.core.memory import SCORES_HELD, peak_memory
from ur4rec_recbole.data.dataset import SECONDS
from ur4rec_recbole.data.times import are_positions
from ur4rec_recbole.evaluation.subsets import COLD, repeated
from ur4rec_recbole.model.recent_popularity import TIES
from ur4rec_recbole.model.stages import read_stages
from ur4rec_recbole.model.trend import RecentCounts
from ur4rec_recbole.monitoring.data_rules import data_findings
from ur4rec_recbole.training import resume

WARM_UP, TIMED = 2, 5  # steps of each stage, at least
TIMED_SECONDS = 4.0  # of timed steps: beside other jobs, single steps differ much
BATCHES = 4  # of validation that are timed
HEAP_GROWTH = 1.4  # of memory in the first steps; docs/monitoring.md has what was measured
MANY_PARAMETERS = 400  # per training interaction
MANY_NEGATIVES = 0.25  # of all items
LARGE_BATCH = 0.5  # of all windows
HIGH_RATE = 0.05
MEMORY_SHARE = 0.8
DAY = 86400.0  # half-life of what others chose of late
PROBED = 2000  # validation rows
CLEARLY = 1.2  # times as many targets
DENSE = 20  # median of an item's training interactions from which ids say nearly everything


@dataclass(frozen=True)
class StageCost:
    """What an epoch of a stage costs: steps, seconds, multiply-adds counted as two."""

    name: str
    epochs: int
    steps: int
    seconds_per_step: float
    validation: float
    flops: float

    @property
    def epoch(self) -> float:
        """Return the seconds of an epoch with its validation."""
        return self.steps * self.seconds_per_step + self.validation


def describe(model: Any, data: Sequence[Any]) -> list[str]:
    """Return lines on data, modalities and sizes."""
    train, valid, test = (each._dataset for each in data)
    lines = [
        f"data: {train.user_num - 1} users, {train.item_num - 1} items, {targets(train)} training "
        f"targets in {len(train)} windows, {len(valid)} validation and {len(test)} test rows"
    ]
    if len(valid):
        lines.append(
            f"repeats: {repeated(valid).mean():.1%} of the validation targets are items that their "
            "users had before"
        )
    for name in model.features.item_modalities:
        share = float(model.features.present(name)[1:].float().mean())
        lines.append(
            f"modality {name}: width {model.features.widths()[name]}, {share:.1%} of items"
        )
    if len(model.features.profile_keys):
        snapshots = len(model.features.profile_vectors) - 1
        width = model.features.widths()["profile"]
        lines.append(f"modality profile: width {width}, {snapshots} snapshots")
    for part, modules in model.parts().items():
        count = sum(p.numel() for module in modules for p in module.parameters())
        lines.append(f"parameters of {part}: {count:,}")
    lines.append(f"parameters: {parameters(model):,}")
    return lines


def stage_cost(trainer: Any, index: int, data: Sequence[Any]) -> StageCost:
    """Time a few real steps of a stage, optimizer included, and a few validation batches."""
    stage, train = trainer.stages[index], data[0]
    trainer._begin(stage)
    model = trainer.model.train()
    counter = FlopCounterMode(display=False)
    with counter:  # counted apart from the timing, which it would slow
        take_step(trainer, next(iter(train)))
    typical = statistics.median(_step_seconds(trainer, train)[WARM_UP:])
    validation = _validation_seconds(model, data[1], trainer.device)
    flops = float(counter.get_total_flops()) * len(train)
    return StageCost(stage.name, stage.epochs, len(train), typical, validation, flops)


def _step_seconds(trainer: Any, train: Any) -> list[float]:
    """Time steps with the loading of their batches: `TIMED_SECONDS` of them, or an epoch's."""
    spent: list[float] = []
    began = time.perf_counter()
    for batch in chain.from_iterable(repeat(train)):
        take_step(trainer, batch)
        now = time.perf_counter()
        spent.append(now - began)
        began = now
        enough = sum(spent) >= TIMED_SECONDS or len(spent) >= len(train)
        if enough and len(spent) >= WARM_UP + TIMED:
            break
    return spent


def take_step(trainer: Any, batch: Any) -> None:
    """Take one training step on a batch."""
    trainer.optimizer.zero_grad()
    batch = batch.to(trainer.device)
    with torch.autocast(trainer.device.type, enabled=trainer.enable_amp):
        losses: Any = trainer.model.calculate_loss(batch)
        loss: Any = sum(losses) if isinstance(losses, tuple) else losses
    loss.backward()
    trainer.optimizer.step()


@torch.no_grad()
def _validation_seconds(model: Any, data: Any, device: Any) -> float:
    """Estimate the seconds of a validation from its first batches."""
    model.eval()
    spent = []
    began = time.perf_counter()
    for _, (interaction, *_) in zip(range(BATCHES), data, strict=False):
        model.full_sort_predict(interaction.to(device))
        now = time.perf_counter()
        spent.append(now - began)
        began = now
    return statistics.median(spent or [0.0]) * len(data)


def estimate(costs: Sequence[StageCost], model: Any) -> list[str]:
    """Return lines on time and memory."""
    lines = [
        f"stage {each.name}: {each.steps} steps of {each.seconds_per_step:.3f} s, validation "
        f"{each.validation:.1f} s, {each.epoch:.1f} s and {each.flops / 1e9:.1f} GFLOP an epoch, "
        f"at most {each.epochs} epochs = {each.epochs * each.epoch / 60:.1f} min"
        for each in costs
    ]
    total = sum(each.epochs * each.epoch for each in costs)
    disk = resume.size(model, len(costs))
    lines.append(f"all stages: at most {total / 60:.1f} min; stages that stop early take less")
    lines.append(
        f"memory: {peak_memory() / 1e6:.0f} MB in the first steps of every stage; about "
        f"{expected_memory() / 1e6:.0f} MB in a run, whose heap grows"
    )
    lines.append(f"disk: at most {disk / 1e6:.0f} MB for checkpoints")
    return lines


def recommended_preset(train: Any, valid: Any, has_texts: bool) -> str:
    """Name the preset that fits the data, and why.

    Parameters
    ----------
    train, valid
        Training and validation part.
    has_texts
        Whether a text table is set.
    """
    counts = train.training_counts[1:]
    median = int(np.median(counts[counts > 0]))
    held_out = train.training_counts[valid.inter_feat[valid.iid_field].numpy()]
    rare = ""
    if len(held_out):
        rare = f" and {np.mean(held_out <= COLD):.0%} of validation targets at most {COLD}"
    users = train.interactions[train.uid_field].numpy()
    timed = not are_positions(users, train.interactions[SECONDS].numpy())
    preset = "small" if median >= DENSE else "sparse"
    why = (
        f"half of the items have at most {median} training interactions{rare}; times are "
        f"{'moments' if timed else 'positions'}"
    )
    texts = "" if has_texts or preset == "small" else "; make a text table: `ur4rec extract text`"
    asked = _request_time(train, valid) if timed else ""
    return f"recommended preset: {preset} ({why}{texts}){asked}"


def _request_time(train: Any, valid: Any) -> str:
    """Recommend request times where what others chose of late tells more than popularity."""
    rows = valid.inter_feat
    some = np.linspace(0, len(rows) - 1, min(len(rows), PROBED)).astype(int)
    targets, moments = (rows[key].numpy()[some] for key in (valid.iid_field, SECONDS))
    seen = train.seen_rows()
    items, times = (train.interactions[key].numpy()[seen] for key in (train.iid_field, SECONDS))
    recent, ever = RecentCounts(times, items, train.item_num), train.training_counts
    hits = np.zeros((len(some), 2), dtype=bool)
    size = max(1, SCORES_HELD // train.item_num)
    for place in range(0, len(some), size):
        at = slice(place, place + size)
        of_late = recent.at(moments[at], DAY) + TIES * ever  # [b, N]
        for column, scores in enumerate((of_late, np.broadcast_to(ever, of_late.shape))):
            hits[at, column] = _hits(scores, targets[at])
    hit, usual = hits.mean(0) if len(hits) else (0.0, 1.0)
    if hit < CLEARLY * usual:
        return ""
    return (
        f"\nrecommended: request_time: True, where you ask when users choose (the ten items that "
        f"others chose most in the days before have {hit:.0%} of validation targets, the ten most "
        f"popular ever {usual:.0%})"
    )


def _hits(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Tell which targets [b] are among the ten best by scores [b, N]; ties share their ranks."""
    own = scores[np.arange(len(targets)), targets, None]
    return (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2 < 10


def config_warnings(config: Any, model: Any, train: Any, valid: Any) -> list[str]:
    """Return warnings of settings that are known to fail."""
    found = [str(each) for each in data_findings(config, valid._dataset)]
    count, n_items = targets(train._dataset), train._dataset.item_num - 1
    size = parameters(model)
    if size > MANY_PARAMETERS * count:
        found.append(
            f"{size / 1e6:.1f}M parameters for {count} training interactions of "
            f"{train._dataset.user_num - 1} users: expect overfitting; lower hidden_size, n_layers "
            "or expert_inner_size"
        )
    sampled = any(
        config[f"{kind}_loss"] != "softmax" for kind in ("sequence", "retrieval", "fused")
    )
    negatives = config["num_negatives"]
    if sampled and negatives and negatives > MANY_NEGATIVES * n_items:
        found.append(
            f"{negatives} negatives of {n_items} items: most items are negatives of every step; "
            "use softmax, which costs no more, or fewer negatives"
        )
    if config["train_batch_size"] > LARGE_BATCH * len(train._dataset):
        found.append(
            f"{config['train_batch_size']} windows a step of {len(train._dataset)}: an epoch has "
            "too few steps to learn from; lower train_batch_size"
        )
    for key in ("learning_rate", "retriever_learning_rate"):
        if config[key] > HIGH_RATE:
            found.append(f"{key} {config[key]:g} is too high for Adam; try 0.001")
    memory = expected_memory()
    total = psutil.virtual_memory().total
    if memory > MEMORY_SHARE * total:
        found.append(f"{memory / 1e9:.1f} GB of {total / 1e9:.1f} GB are needed: it will swap")
    free = psutil.disk_usage(".").free
    if free < resume.size(model, len(read_stages(config))):
        found.append(f"{free / 1e6:.0f} MB free on disk: checkpoints will not fit")
    if not (model.features.item_modalities or len(model.features.profile_keys)):
        found.append("no feature table is set: every modality is masked, experts learn nothing")
    return found


def expected_memory() -> float:
    """Estimate what a run will hold at most, in bytes, after steps of all stages were made."""
    return HEAP_GROWTH * peak_memory()


def targets(train: Any) -> int:
    """Return the number of interactions that training predicts per epoch."""
    return len(train.target_rows())


def parameters(model: Any) -> int:
    """Return the number of trainable values."""
    return int(np.sum([p.numel() for p in model.parameters()]))
