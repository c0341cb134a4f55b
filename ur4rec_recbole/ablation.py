"""Ablation: what each part and technique brings, over seeds, on validation data.

python -m ur4rec_recbole.ablation properties/ablation.yaml      (or: make ablation)

A plan names a base configuration and variants of it. Variants that share the first stage start from
the same trained encoder, once a seed. Every (variant, seed) leaves one JSON file; a run that was
killed goes on with those that are missing.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from recbole.config import Config

from ur4rec_recbole.assembly import build_trainer, load_data
from ur4rec_recbole.errors import InputError
from ur4rec_recbole.files import replacing

METRICS = ("ndcg@10", "hit@10")


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
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False


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
        Where results and shared encoders are kept.
    """

    base: Mapping[str, Any]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    folder: Path

    @property
    def stages(self) -> list[Any]:
        """The stages of the base, the shared one first."""
        return list(_config(self, {}, self.seeds[0])["stages"])


def read_plan(file: Path, seeds: int | None, images: Path | None, folder: Path) -> Plan:
    """Read a plan; `images` adds an image table to all variants."""
    if not file.is_file():
        raise InputError(f"plan: {file}", "must be a file", "none of that name", "Check the path.")
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    base = dict(found["base"])
    if images is not None:
        base["item_image_table"] = str(images)
    variants = tuple(Variant(**entry) for entry in found["variants"])
    if images is None:
        variants = tuple(v for v in variants if "item_image_table" not in v.settings)
    count = seeds or found["seeds"]
    return Plan(base, variants, tuple(range(2020, 2020 + count)), folder)


def _config(plan: Plan, settings: Mapping[str, Any], seed: int) -> Config:
    values = {**plan.base, **settings, "seed": seed, "state": "ERROR"}
    files = values.pop("config_files", None)
    values["checkpoint_dir"] = str(plan.folder / "saved")
    return Config("UR4Rec", values.pop("dataset", "ml-100k"), files, values)


def train_shared(plan: Plan, seed: int) -> None:
    """Train the first stage of the base and keep its weights."""
    target = plan.folder / f"shared-{seed}.pt"
    if target.exists():
        return
    trainer = _fit(_config(plan, {"stages": plan.stages[:1]}, seed))
    with replacing(target) as file:
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
        start = torch.load(plan.folder / f"shared-{seed}.pt", weights_only=True)
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
    with replacing(target) as file:
        file.write(json.dumps(found, indent=1).encode())


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
    """Lay the finished runs out as Markdown: mean and deviation over seeds, and the difference."""
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
    return "\n".join(lines)


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
    """Set a worker process up."""
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    sys.argv = sys.argv[:1]  # RecBole reads configuration from the command line


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing of a plan and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--seeds", type=int, help="as many as the plan says unless given")
    parser.add_argument("--images", type=Path, help="an image table that all variants read")
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--out", type=Path, help="Markdown file that the table is written to")
    options = parser.parse_args(arguments)
    sys.argv = sys.argv[:1]
    plan = read_plan(options.plan, options.seeds, options.images, options.folder)
    plan.folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, torch.get_num_threads() // options.jobs)
    pool = ProcessPoolExecutor(options.jobs, get_context("spawn"), _quietly, (threads,))
    with pool:
        for job in [pool.submit(train_shared, plan, seed) for seed in plan.seeds]:
            job.result()
        jobs = [
            pool.submit(train_variant, plan, variant, seed)
            for seed in plan.seeds
            for variant in plan.variants
        ]
        for job in jobs:
            job.result()
    found = table(plan)
    print(found)
    if options.out:
        with replacing(options.out) as file:
            file.write((found + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
