"""`ur4rec ablation`: what each component and technique contributes, on validation data.

ur4rec ablation properties/ablation.yaml --markdown docs/ablation.md      (or: make ablation)

The same as `ur4rec benchmark PLAN` for a plan with `evaluate: [valid]`, except for the table, which
shows each entry's difference from the first one, seed by seed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.experiments.benchmark import execute
from ur4rec_recbole.experiments.plan import read_plan
from ur4rec_recbole.reports import ablation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("plan", type=Path)
    parser.add_argument("--seeds", type=int, help="number of seeds; default: the plan's")
    parser.add_argument("--images", type=Path, help="image table to use instead of the plan's")
    parser.add_argument(
        "--output", "--folder", type=Path, default=Path("runs/ablation"),
        help="folder of the runs [runs/ablation]",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--markdown", "--out", type=Path, metavar="FILE", help="where the table is written, too"
    )


def run(options: argparse.Namespace) -> int:
    """Run the plan's missing runs and print the table; return 1 if a run failed."""
    plan = read_plan(find_file(options.plan), options.seeds, options.images)
    plan = replace(plan, settings={**plan.settings, "evaluated_parts": ["valid"]})
    failed = execute(plan, options.output, options.jobs)
    found = ablation.page(options.output)
    print(found)
    if options.markdown:
        with atomic_write(options.markdown) as file:
            file.write(found.encode())
    return int(failed > 0)
