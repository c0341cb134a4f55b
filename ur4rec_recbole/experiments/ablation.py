"""Ablation: what each part and technique brings, over seeds, on validation data.

python -m ur4rec_recbole.experiments.ablation properties/ablation.yaml      (or: make ablation)

A plan names a base configuration and variants of it. Variants that share the first stage start from
the same trained encoder, once a seed. Every (variant, seed) leaves one JSON file; a run that was
killed goes on with those that are missing. Where there is an image table, the variants marked
`with_images` are measured a second time with it.
"""

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write, write_json
from ur4rec_recbole.core.processes import exit_with_parent
from ur4rec_recbole.core.yaml_files import read_mapping
from ur4rec_recbole.experiments.plan import FIRST_SEED, file_values
from ur4rec_recbole.runs.assembly import build_trainer, load_data
from ur4rec_recbole.runs.provenance import machine, versions

METRICS = ("ndcg@10", "hit@10")
IMAGES = Path("dataset/ml-100k/item_image.npz")


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes
    ----------
    name
        What is different.
    settings
        Configuration keys on top of the base; `stages` may be given too.
    whole
        Whether it is trained from its first stage on, and not from the shared encoder.
    with_images
        Whether it is measured with an image table too, if there is one.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    with_images: bool = False


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes
    ----------
    base
        Configuration files and keys that all variants have.
    variants
        The rows; the first is what the others are compared with.
    seeds
        One run a variant and seed.
    folder
        Where results are kept.
    shared
        Where the shared encoders are: plans with and without images start from the same ones.
    """

    base: Mapping[str, Any]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    folder: Path
    shared: Path

    @property
    def stages(self) -> list[Any]:
        """The stages of the base, the shared one first."""
        return list(_config(self, {}, self.seeds[0])["stages"])


def read_plan(file: Path, seeds: int | None, images: Path | None, folder: Path) -> Plan:
    """Read a plan; with `images`, an image table, the part of it that is measured with one."""
    if not file.is_file():
        raise InputError(f"plan: {file}", "must be a file", "none of that name", "Check the path.")
    found = read_mapping(file, "plan")
    base, variants = dict(found["base"]), [Variant(**entry) for entry in found["variants"]]
    chosen = tuple(range(FIRST_SEED, FIRST_SEED + (seeds or found["seeds"])))
    if images is None:
        kept = tuple(v for v in variants if "item_image_table" not in v.settings)
        return Plan(base, kept, chosen, folder, folder)
    base["item_image_table"] = str(images)
    kept = tuple(v for v in variants if v.with_images)
    return Plan(base, kept, chosen, folder / "images", folder)


def _config(plan: Plan, settings: Mapping[str, Any], seed: int) -> Config:
    values = {**plan.base, **settings, "seed": seed, "state": "ERROR"}
    files = values.pop("config_files", None)
    values["checkpoint_dir"] = str(plan.folder / "saved")
    return Config("UR4Rec", values.pop("dataset", "ml-100k"), files, values)


def keep_base(plan: Plan) -> None:
    """Write down what all runs of a plan share; `InputError` in a folder that began with other."""
    file = plan.folder / "base.json"
    made = {**file_values(plan.base.get("config_files", ())), **plan.base}
    made = json.loads(json.dumps(made))
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != made:
        raise InputError(
            f"Folder {plan.folder}", "must hold runs of the same base configuration",
            "one that began with another", "Name another --folder, or remove this one.",
        )  # fmt: skip
    write_json(file, made)


def train_shared(plan: Plan, seed: int) -> None:
    """Train the first stage of the base and keep its weights."""
    target = plan.shared / f"shared-{seed}.pt"
    if target.exists():
        return
    trainer = _fit(_config(plan, {"stages": plan.stages[:1]}, seed))
    with atomic_write(target) as file:
        torch.save(trainer.model.state_dict(), file)


def train_variant(plan: Plan, variant: Variant, seed: int) -> None:
    """Train one variant and write its JSON file."""
    target = _result_file(plan, variant, seed)
    if target.exists():
        return
    settings = dict(variant.settings)
    start = None
    if not variant.whole:
        settings.setdefault("stages", plan.stages)
        settings["stages"] = settings["stages"][1:]
        start = torch.load(plan.shared / f"shared-{seed}.pt", weights_only=True)
    began = time.perf_counter()
    trainer = _fit(_config(plan, settings, seed), start)
    found = {
        "variant": variant.name,
        "seed": seed,
        "settings": settings,
        "seconds": time.perf_counter() - began,
        "stages": [result._asdict() for result in trainer.results],
        "valid": dict(trainer.best_valid_result),
    }
    write_json(target, found)


def _fit(config: Config, start: Mapping[str, torch.Tensor] | None = None) -> Any:
    """Train a model, from given encoder weights where there are some; return its trainer.

    No test data is read.
    """
    train_data, valid_data, _ = load_data(config)
    trainer = build_trainer(config, train_data)
    if start is not None:
        encoder = {k: v for k, v in start.items() if k.startswith(("encoder.", "item_embedding."))}
        trainer.model.load_state_dict(encoder, strict=False)
        trainer.model.score.zero_()  # what it receives predicts by the sequence score
    trainer.fit(train_data, valid_data, verbose=False, saved=False)
    return trainer


def _result_file(plan: Plan, variant: Variant, seed: int) -> Path:
    return plan.folder / f"{variant.name.replace(' ', '_').replace('/', '_')}-{seed}.json"


def table(plan: Plan) -> str:
    """Lay the finished runs out as Markdown: mean, deviation and difference; name the others."""
    rows = {v.name: _values(plan, v) for v in plan.variants}
    first = rows[plan.variants[0].name]
    lines = [
        "| variant | seeds | NDCG@10 | HR@10 | NDCG@10 against the first row, seed by seed |",
        "|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        if not found:
            continue
        shown = [_spread([run[key] for run in found.values()]) for key in METRICS]
        both = sorted(set(found) & set(first))
        gain = [found[seed]["ndcg@10"] - first[seed]["ndcg@10"] for seed in both]
        lines.append(f"| {name} | {len(found)} | {shown[0]} | {shown[1]} | {_spread(gain, '+')} |")
    missing = [name for name, found in rows.items() if not found]
    lines += ["", f"Not run yet: {'; '.join(missing)}."] if missing else []
    return "\n".join(lines)


def page(file: Path, plans: Mapping[str, Plan]) -> str:
    """Lay a plan file's parts out as one Markdown page."""
    plan = next(iter(plans.values()))
    seeds = ", ".join(map(str, plan.seeds))
    made_by = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Ablation",
        "",
        f"    python -m ur4rec_recbole.experiments.ablation {file}",
        "",
        f"Validation on {plan.base['dataset']}, leave-one-out in time, ranked among all items that",
        f"the user has not had; mean ± standard deviation over seeds {seeds}. No test data is",
        "read. Variants that keep the first row's first stage start from the same trained encoder,",
        "once a seed, so that the last column compares like with like. A stage hands on nothing",
        "worse than what it received: a row that equals pretrain_sasrec alone brought nothing.",
        "",
        f"Machine: {machine()['cpu']}. {made_by}.",
    ]
    for title, part in plans.items():
        lines += ["", f"## {title}", "", table(part)]
    return "\n".join(lines) + "\n"


def _values(plan: Plan, variant: Variant) -> dict[int, dict[str, float]]:
    files = {seed: _result_file(plan, variant, seed) for seed in plan.seeds}
    return {
        seed: json.loads(file.read_text())["valid"] for seed, file in files.items() if file.exists()
    }


def _spread(values: Iterable[float], sign: str = "") -> str:
    found = np.array(list(values))
    if not len(found):
        return ""
    deviation = f" ± {found.std(ddof=1):.4f}" if len(found) > 1 else ""
    return f"{found.mean():{sign}.4f}{deviation}"


def _quietly(threads: int) -> None:
    """Set a worker process up; it ends with its parent, however that ends."""
    parent = parent_process()
    if parent is not None:
        exit_with_parent(parent.join)
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    sys.argv = sys.argv[:1]  # RecBole reads configuration from the command line


def execute(plans: Sequence[Plan], jobs: int) -> None:
    """Run what is missing of plans that share their encoders, one seed of all before the next."""
    threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _quietly, (threads,)) as pool:
        shared = {seed: pool.submit(train_shared, plans[0], seed) for seed in plans[0].seeds}
        runs = []
        for seed, encoder in shared.items():
            encoder.result()  # the next seed's may still be training
            runs += [
                pool.submit(train_variant, plan, variant, seed)
                for plan in plans
                for variant in plan.variants
            ]
        for each in runs:
            each.result()
