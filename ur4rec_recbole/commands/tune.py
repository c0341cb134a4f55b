"""`ur4rec tune`: searches settings of a space, and ends trials early that are not worth finishing.

ur4rec tune --preset small --space properties/space_small.yaml --trials 40
ur4rec tune --preset small --space properties/space_small.yaml --jobs 2 --output runs/tune-small
ur4rec tune --model=SASRec --dataset=ml-100k --train_neg_sample_args=None --space space.yaml
ur4rec tune --preset small --space properties/space_small.yaml --engine ray

The same command goes on with a search that was interrupted or killed; more --trials extend it.
"""

import argparse
import importlib
from pathlib import Path

from ur4rec_recbole.commands.options import add_config_options, chosen_files, chosen_settings
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import search

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config_options(parser)
    parser.add_argument("--space", type=Path, required=True, help="YAML: what may be chosen")
    parser.add_argument("--trials", type=int, default=20, help="in all, earlier ones counted [20]")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time [1]")
    parser.add_argument("--output", type=Path, help="folder of the search [runs/tune-MODEL-DATA]")
    parser.add_argument("--engine", choices=("optuna", "ray"), default="optuna")
    parser.add_argument(
        "--startup", type=int, default=5,
        help="trials that are drawn at random, and end before any is ended early [5]",
    )  # fmt: skip
    parser.add_argument(
        "--warmup", type=int, default=3, help="epochs of each stage that are not judged [3]"
    )
    parser.epilog = "Any --key=value is a configuration key of all trials."


def run(options: argparse.Namespace) -> int:
    """Search, print the best trials and write the best; return 1 if a trial failed."""
    if options.trials < 1:
        raise InputError("--trials", "must be at least 1", options.trials, "Raise it.")
    wanted = (options.model, options.dataset, chosen_files(options))
    settings = chosen_settings(options)
    found = search.prepare(
        wanted, settings, options.space, options.engine, options.startup, options.warmup
    )
    engine = importlib.import_module(f"ur4rec_recbole.experiments.search_{options.engine}")
    folder = options.output or Path(f"runs/tune-{found.model}-{found.dataset}")
    with search.kept(found, folder):
        trials, failed = engine.run(found, folder, options.trials, options.jobs)
        print(search.conclude(found, folder, trials))
    return int(failed > 0)
