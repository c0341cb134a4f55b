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
    parser.add_argument(
        "--new-item-share", type=float, default=0.1,
        help="share of the first ten places for such items, in the last columns [0.1]",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3)


def run(options: argparse.Namespace) -> int:
    """Print hit rates by seed, and a one-sided Wilcoxon test over users against random order."""
    for name in ("share", "new_item_share"):
        value = getattr(options, name)
        if not 0 < value < 1:
            named = f"--{name.replace('_', '-')}"
            raise InputError(named, "must be above 0 and below 1", value, "Correct it.")
    if options.seeds < 1:
        raise InputError("--seeds", "must be at least 1", options.seeds, "Raise it.")
    print(f"{options.dataset}, {options.share:.0%} of items unseen in training, HR@{TOP} on them")
    print("seed  users  among cold items: UR4Rec  popularity/random  p        among all items: "
          f"UR4Rec  random  popularity  with {options.new_item_share:.0%} of the places  "
          "validation, without and with")  # fmt: skip
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        told = run_seed(
            options.config_files, options.share, seed, options.dataset, options.new_item_share
        )
        found = told.scored
        p = stats.wilcoxon(found.among_cold, found.among_cold_random, alternative="greater").pvalue
        print(
            f"{seed}  {len(found.among_cold):5d}  {found.among_cold.mean():25.4f}  "
            f"{found.among_cold_random.mean():17.4f}  {p:.1e}  {found.among_all.mean():23.4f}  "
            f"{found.among_all_random.mean():.4f}  {found.among_all_popular.mean():.4f}  "
            f"{told.mixed.among_all.mean():20.4f}  {told.known:20.4f} {told.known_mixed:.4f}",
            flush=True,
        )
    return 0
