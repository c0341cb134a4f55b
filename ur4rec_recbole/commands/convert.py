"""`ur4rec convert`: public data sets to RecBole's atomic files, plus item texts.

ur4rec convert movielens ml-1m/ --output dataset/ml-1m
ur4rec convert amazon --reviews Beauty_5.json.gz --meta meta_Beauty.json.gz --output dataset/beauty
ur4rec convert table --interactions orders.csv --items products.csv --output dataset/shop
"""

import argparse
import shlex
from pathlib import Path

from ur4rec_recbole.commands import convert_table
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import require_writable
from ur4rec_recbole.datasets.convert import amazon, movielens, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command per family of data sets."""
    kinds = parser.add_subparsers(dest="kind", required=True)
    movielens = kinds.add_parser("movielens", help="1M (.dat); 20M, 25M, 32M, latest (.csv)")
    movielens.add_argument("source", help="the unpacked folder")
    amazon = kinds.add_parser("amazon", help="reviews of 2014, 2018 or 2023 with their metadata")
    amazon.add_argument("--reviews", required=True, help=".json or .jsonl file, may be gzipped")
    amazon.add_argument("--meta", help="item metadata; without it there are no texts")
    convert_table.add_arguments(kinds.add_parser("table", help="any CSV, TSV, JSONL or Parquet"))
    for kind in (movielens, amazon):
        kind.add_argument("--output", required=True, help="folder, named as the data set will be")


def run(options: argparse.Namespace) -> int:
    """Convert and print a summary."""
    folder = Path(options.output).resolve()  # its name becomes the data set's
    if (folder.exists() and not folder.is_dir()) or not folder.name:
        raise InputError(
            "--output", "must be a folder with a name, the data set's", str(folder),
            "Name another one.",
        )  # fmt: skip
    require_writable("--output", folder.parent)
    if options.kind == "table":
        return convert_table.run(options)
    if options.kind == "movielens":
        converted = movielens(Path(options.source))
    else:
        converted = amazon(Path(options.reviews), Path(options.meta) if options.meta else None)
    write(converted, folder)
    rows, base = converted.interactions, str(folder / folder.name)
    following = [
        "ur4rec", "extract", "text", "--dataset", folder.name, "--data-path", str(folder.parent),
        "--config-files", f"{base}.yaml", "--texts", f"{base}.texts.json", "--output",
        "item_text.npz",
    ]  # fmt: skip
    print(
        f"{folder}: {len(rows)} interactions of {rows.user_id.nunique()} users and "
        f"{rows.item_id.nunique()} items, {len(converted.texts)} texts.\n"
        f"Next: {shlex.join(following)}"
    )
    return 0
