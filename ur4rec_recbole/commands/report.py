"""`ur4rec report FOLDER`: one HTML page of one run, or of a folder of runs.

ur4rec report runs/UR4Rec-ml-100k-...
ur4rec report runs/benchmark-ml-100k --baseline "SASRec as shipped"
ur4rec report runs/benchmark-ml-100k --beside runs/benchmark-ml-100k-time
ur4rec report docs/results/benchmark-ml-100k --markdown docs/benchmark-ml-100k.md
ur4rec report docs/results/ablation --baseline small      prints the table of its result files
"""

import argparse
from pathlib import Path

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.reports import ablation, benchmark_page, run_page
from ur4rec_recbole.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", help="a run folder, or a folder of run folders")
    parser.add_argument("--baseline", help="entry that all others are compared with [the plan's]")
    parser.add_argument("--beside", help="folder of runs of the same entries under another split")
    parser.add_argument("--markdown", help="write the tables of several runs into this file alone")


def run(options: argparse.Namespace) -> int:
    """Write the page and print its path."""
    folder = Path(options.folder)
    if ablation.is_made_of_files(folder):
        print(ablation.page(folder, options.baseline))
        return 0
    runs = folder.is_dir() and any(folder.glob("*/run.json"))
    if runs and not (folder / "run.json").exists():
        of = (folder, options.baseline, options.beside)
        if options.markdown:
            print(benchmark_page.write_markdown(options.markdown, *of))
        else:
            print(benchmark_page.write(*of))
        return 0
    for key in ("baseline", "beside", "markdown"):
        if getattr(options, key):
            raise InputError(
                f"--{key}", "is for a folder of several runs", folder, "Leave it out, or name one."
            )
    print(run_page.write(RunFolder.open(folder)))
    return 0
