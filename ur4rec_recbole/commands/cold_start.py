"""`ur4rec cold-start`: how well items without training interactions are recommended by content.

ur4rec cold-start --config-files properties/small.yaml      (or: make cold-start)
"""

import argparse

from scipy import stats

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments.cold_start import FIRST_SEED, TOP, run_seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--config-files", "--config_files", nargs="+", default=["properties/small.yaml"]
    )
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--share", type=float, default=0.1, help="share of items to take out")
    parser.add_argument("--seeds", type=int, default=3)


def run(options: argparse.Namespace) -> int:
    """Print hit rates by seed, and a one-sided Wilcoxon test over users against random order."""
    if not 0 < options.share < 1:
        raise InputError("--share", "must be above 0 and below 1", options.share, "Correct it.")
    if options.seeds < 1:
        raise InputError("--seeds", "must be at least 1", options.seeds, "Raise it.")
    print(f"{options.dataset}, {options.share:.0%} of items unseen in training, HR@{TOP} on them")
    print("seed  users  among cold items: UR4Rec  popularity/random  p        among all items: "
          "UR4Rec  random  popularity")  # fmt: skip
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        found = run_seed(options.config_files, options.share, seed, options.dataset)
        p = stats.wilcoxon(found.among_cold, found.among_cold_random, alternative="greater").pvalue
        print(
            f"{seed}  {len(found.among_cold):5d}  {found.among_cold.mean():25.4f}  "
            f"{found.among_cold_random.mean():17.4f}  {p:.1e}  {found.among_all.mean():23.4f}  "
            f"{found.among_all_random.mean():.4f}  {found.among_all_popular.mean():.4f}",
            flush=True,
        )
    return 0
