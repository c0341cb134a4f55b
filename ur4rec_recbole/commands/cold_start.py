"""`ur4rec cold-start`: how well items without training interactions are recommended by content.

ur4rec cold-start --config-files properties/small.yaml      (or: make cold-start)
"""

import argparse

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.evaluation.paired import randomisation_p
from ur4rec_recbole.experiments.cold_start import FIRST_SEED, TOP, Seed, run_seed


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
    """Print hit rates by seed, and a randomisation test over users against chance."""
    for name in ("share", "new_item_share"):
        value = getattr(options, name)
        if not 0 < value < 1:
            named = f"--{name.replace('_', '-')}"
            raise InputError(named, "must be above 0 and below 1", value, "Correct it.")
    if options.seeds < 1:
        raise InputError("--seeds", "must be at least 1", options.seeds, "Raise it.")
    print(
        f"{options.dataset}, {options.share:.0%} of items unseen in training, HR@{TOP} on them: "
        "among themselves, among all items, and among all with "
        f"{options.new_item_share:.0%} of the places for new ones"
    )
    print(f"{'':28}among themselves      p  among all    mixed  validation")
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        told = run_seed(
            options.config_files, options.share, seed, options.dataset, options.new_item_share
        )
        print("\n".join(_lines(seed, told)), flush=True)
    return 0


def _lines(seed: int, told: Seed) -> list[str]:
    """Lay a seed out."""
    found, content = told.scored, told.content
    # Of the mean: ranks of differences would count the many that chance hits a little.
    p = randomisation_p(found.among_cold - found.among_cold_random)
    rows = [
        ("UR4Rec", found.among_cold, f"{p:.0e}", found.among_all,
         f"{told.mixed.among_all.mean():.4f}", f"{told.known:.4f}, mixed {told.known_mixed:.4f}"),
        ("popularity", found.among_cold_random, "", found.among_all_popular, "", ""),
        ("random", found.among_cold_random, "", found.among_all_random, "", ""),
    ]  # fmt: skip
    if content is not None:
        rows.insert(1, ("content kNN", content.among_cold, "", content.among_all, "", ""))
    return [f"seed {seed}, {len(found.among_cold)} users"] + [
        f"  {name:26}{own.mean():16.4f}{p:>7}{among_all.mean():11.4f}{mixed:>9}  {known}".rstrip()
        for name, own, p, among_all, mixed, known in rows
    ]
