"""`ur4rec ablation`: what each part and technique brings, over seeds, on validation data.

ur4rec ablation properties/ablation.yaml --out docs/ablation.md      (or: make ablation)
"""

import argparse
from pathlib import Path

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.experiments.ablation import IMAGES, execute, keep_base, page, read_plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("plan", type=Path)
    parser.add_argument("--seeds", type=int, help="as many as the plan says unless given")
    parser.add_argument(
        "--images", type=Path, default=IMAGES, help=f"an image table, if there is one [{IMAGES}]"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--out", type=Path, help="Markdown file that the table is written to")


def run(options: argparse.Namespace) -> int:
    """Run what is missing of a plan and print the table."""
    plans = {"Without images": read_plan(options.plan, options.seeds, None, options.folder)}
    if options.images.is_file():
        table = FeatureTable.load(options.images)
        title = f"With images ({table.provenance['encoder']}, {len(table)} items)"
        plans[title] = read_plan(options.plan, options.seeds, options.images, options.folder)
    for plan in plans.values():
        keep_base(plan)
    execute([plan for plan in plans.values() if plan.variants], options.jobs)
    found = page(options.plan, plans)
    print(found)
    if options.out:
        with atomic_write(options.out) as file:
            file.write(found.encode())
    return 0
