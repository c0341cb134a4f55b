"""`ur4rec inspect TABLE`: whether a feature table is complete, has the right ids, and is useful.

ur4rec inspect dataset/ml-100k/item_text.npz --dataset ml-100k --items 1 50 --html page.html
ur4rec inspect shop.npz --dataset shop --data-path data --ITEM_ID_FIELD=product
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.commands.options import (
    add_dataset_options,
    add_item_options,
    chosen_dataset,
    chosen_items,
)
from ur4rec_recbole.core.errors import InputError, printable
from ur4rec_recbole.core.files import atomic_write, require_writable, write_json
from ur4rec_recbole.inspection import measures
from ur4rec_recbole.inspection.checks import Subject, inspect, load_any, shown_rows, subject_of
from ur4rec_recbole.inspection.verdict import report
from ur4rec_recbole.reports.neighbour_page import neighbour_page

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("table", help="feature table (.npz); a bare token/vector .npz works too")
    add_dataset_options(parser)
    add_item_options(parser)
    parser.add_argument("--items", nargs="+", default=[], help="ids whose neighbours to show")
    parser.add_argument(
        "--neighbours",
        type=int,
        default=10,
        help="nearest neighbours per item in the agreement test",
    )
    parser.add_argument("--html", help="write a page with nearest neighbours")
    parser.add_argument("--images", help="folder of ITEM_ID.jpg for the page's thumbnails")
    parser.add_argument("--json", help="write all numbers to this file")
    parser.epilog = "Any --key=value is a configuration key."


def run(options: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if the ids are wrong or the vectors are not useful."""
    if options.neighbours < 1:
        raise InputError("--neighbours", "must be at least 1", options.neighbours, "Raise it.")
    for key, path in (("--json", options.json), ("--html", options.html)):
        if path and Path(path).is_dir():
            raise InputError(key, "must name a file", f"the folder {path}", "Name another one.")
        if path:
            require_writable(key, Path(path).parent)
    table = load_any(options.table)
    dataset = chosen_dataset(options)
    items = chosen_items(options, dataset)
    subject = subject_of(table, dataset, items)
    unknown = sorted(set(options.items) - set(subject.table.tokens.tolist()))
    if unknown:
        raise InputError("--items", "must be tokens of the table", unknown, "Name other ones.")
    findings = inspect(subject, options.neighbours)
    nearest = measures.neighbours(subject.table.vectors, min(options.neighbours, 6))
    shown = shown_rows(subject, options.items)
    print(printable("\n".join(report(table, findings))))
    for row in shown:
        near = "; ".join(subject.title(int(other)) for other in nearest[row][:5])
        print(printable(f"near {subject.title(int(row))}: {near}"))
    _write_files(options, subject, findings, nearest, shown)
    return 0 if findings["ids_right"] and findings["useful"] else 1


def _write_files(
    options: argparse.Namespace,
    subject: Subject,
    findings: dict[str, Any],
    nearest: np.ndarray,
    shown: list[int],
) -> None:
    """Write the page and the numbers where asked."""
    if options.json:
        write_json(Path(options.json), findings)
    if options.html:
        rows = shown if options.items else shown_rows(subject, [], 24)
        cells = [
            [(str(subject.table.tokens[r]), subject.title(int(r))) for r in (row, *nearest[row])]
            for row in rows
        ]
        with atomic_write(options.html) as file:
            lines = report(subject.table, findings)
            file.write(neighbour_page(lines, cells, options.images).encode())
