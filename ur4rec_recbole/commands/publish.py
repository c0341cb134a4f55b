"""`ur4rec publish`: copies the results of finished runs, without weights and logs.

ur4rec publish runs/benchmark-ml-100k docs/results/benchmark-ml-100k
"""

import argparse
from pathlib import Path

from ur4rec_recbole.experiments.publish import publish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, help="a benchmark's folder of runs")
    parser.add_argument("target", type=Path, help="where the copy goes; an older copy is replaced")


def run(options: argparse.Namespace) -> int:
    """Copy, and print the number of runs."""
    print(f"{options.target}: {publish(options.folder, options.target)} runs")
    return 0
