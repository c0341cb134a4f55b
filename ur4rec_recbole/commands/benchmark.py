"""`ur4rec benchmark`: runs a plan, one folder per run, and writes the report.

ur4rec benchmark properties/benchmark.yaml --output runs/benchmark          (or: make bench)
ur4rec benchmark --models UR4Rec,SASRec,Pop --dataset ml-100k --seeds 5
ur4rec benchmark properties/benchmark-scientific.yaml --data-path data --tables tables
ur4rec benchmark --tune                    searches the rivals' settings on validation first
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.experiments import tuning
from ur4rec_recbole.experiments.benchmark import choose, execute, on_synthetic_data
from ur4rec_recbole.experiments.plan import read_plan
from ur4rec_recbole.reports import benchmark_page

DOCUMENTED = Path("properties/benchmark.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("plan", nargs="?", type=Path, default=DOCUMENTED, help="YAML file")
    parser.add_argument("--models", help="entries of the plan, or models, separated by commas")
    parser.add_argument("--dataset", help="data set to use instead of the plan's")
    parser.add_argument(
        "--seeds", type=int, help="number of seeds, for entries without seeds of their own"
    )
    parser.add_argument("--data-path", type=Path, help="folder that holds the data set's folder")
    parser.add_argument("--tables", type=Path, help="what {tables} stands for in the plan [tables]")
    parser.add_argument("--images", type=Path, help="image table to use instead of the plan's")
    parser.add_argument("--output", type=Path, help="folder of the runs [runs/benchmark-DATASET]")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="run the plan's searches instead, or those that --models names",
    )
    parser.add_argument(
        "--synthetic", action="store_true", help="use a made-up data set, to measure speed"
    )


def _wanted(searches: Sequence[Mapping[str, Any]], models: str | None) -> list[Mapping[str, Any]]:
    """Return the searches that --models names; all of them without it."""
    names = models.split(",") if models else [each.get("name") for each in searches]
    known = {each.get("name"): each for each in searches}
    for name in names:
        if name not in known:
            raise InputError(
                "--models", "must name searches of the plan", repr(name),
                f"Name some of {list(known)}.",
            )  # fmt: skip
    return [known[name] for name in names]


def run(options: argparse.Namespace) -> int:
    """Run the plan; return 1 if a run failed."""
    plan = read_plan(
        find_file(options.plan), options.seeds, options.images, options.data_path, options.tables
    )
    plan = choose(plan, None if options.tune else options.models, options.dataset)
    if options.synthetic:
        plan = on_synthetic_data(plan, Path("dataset"))
    output = options.output or Path(f"runs/benchmark-{plan.dataset}")
    if options.tune:
        folder = output / "tuning"
        if not plan.tune:
            raise InputError(
                f"{options.plan}: tune", "must be given for --tune", "nothing",
                "Add it; docs/benchmark.md tells its format.",
            )  # fmt: skip
        failed = 0
        for each in _wanted(plan.tune, options.models):
            trials, lost = tuning.search(
                plan, each, folder, lambda tried: execute(tried, folder, options.jobs)
            )
            print(tuning.choose(each, trials, folder, options.plan), flush=True)
            failed += lost
        return int(failed > 0)
    failed = execute(plan, output, options.jobs)
    print(f"{output / 'report.md'}: {benchmark_page.write(output)}")
    return int(failed > 0)
