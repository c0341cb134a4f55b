"""`ur4rec similar`: the items that are most like one to a model.

ur4rec similar runs/shop P001
"""

import argparse

from ur4rec_recbole.commands.recommend import print_items
from ur4rec_recbole.serving.recommender import Recommender


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", help="a run's folder, or one that `ur4rec export` wrote")
    parser.add_argument("item", help="its id")
    parser.add_argument("--k", type=int, default=10, help="how many [10]")


def run(options: argparse.Namespace) -> int:
    """Print them with their cosines."""
    recommender = Recommender.load(options.model)
    print_items(recommender, recommender.similar_items(options.item, options.k))
    return 0
