"""`ur4rec compare RUN RUN ...`: runs side by side: their results, and the settings that differ.

ur4rec compare runs/a runs/b
ur4rec compare --all runs/a runs/b      with the metrics of subsets and lists
"""

import argparse

from rich.console import Console
from rich.text import Text

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.reports.compare import differences, results, short_names, table
from ur4rec_recbole.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, two or more")
    parser.add_argument("--all", action="store_true", help="metrics of subsets and lists too")


def run(options: argparse.Namespace) -> int:
    """Print both tables."""
    if len(options.runs) < 2:
        raise InputError("RUN", "must name two runs or more", options.runs, "Add another run.")
    runs = [RunFolder.open(path) for path in options.runs]
    console = Console(highlight=False)
    names, lines = short_names(runs)
    for line in lines:
        console.print(Text(line))
    found = results(runs, options.all)
    console.print(table("Results, and the change from the first run", names, found))
    differing = differences(runs)
    if differing:
        console.print(table("What differs between the runs", names, differing))
    else:
        console.print("Nothing differs between the runs.")
    return 0
