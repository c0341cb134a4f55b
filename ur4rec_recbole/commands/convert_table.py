"""`ur4rec convert table`: any table of interactions, and one of items, to RecBole's atomic files.

ur4rec convert table --interactions orders.csv --items products.csv --output dataset/shop
"""

import argparse
import shlex
from pathlib import Path

from ur4rec_recbole.datasets.table_files import read_table
from ur4rec_recbole.datasets.tables import REPEATS, Columns, Rules, ShopData, from_dataframe

ROLES = {
    "user": "interactions: who",
    "item": "interactions: what; also of the items, where that table has it",
    "time": "interactions: when",
    "rating": "interactions: how much they liked it",
    "items-item": "items: their id, where it has another name",
    "title": "items: title",
    "categories": "items: categories, separated by | ; > or commas",
    "image": "items: name of an image file",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--interactions", required=True, help="CSV, TSV, JSONL, Parquet, or .gz")
    parser.add_argument("--items", help="the same of items")
    for role, meaning in ROLES.items():
        parser.add_argument(f"--{role}", metavar="COLUMN", help=f"{meaning} [guessed]")
    parser.add_argument("--text", metavar="COLUMNS", help="items: texts, separated by commas")
    parser.add_argument("--time-format", help="of times, as strptime takes it: %%d/%%m/%%Y")
    parser.add_argument("--file-order", action="store_true", help="rows are in order of time")
    parser.add_argument(
        "--repeats", choices=REPEATS, default="keep", help="an item twice by one user [keep]"
    )
    parser.add_argument("--k-core", type=int, default=0, help="interactions of a user, of an item")
    parser.add_argument("--all-items", action="store_true", help="keep items that nobody has had")
    parser.add_argument("--output", required=True, help="folder; its name names the data set")


def run(options: argparse.Namespace) -> int:
    """Convert, and say what was guessed and what came out."""
    folder = Path(options.output).resolve()
    tables = {}
    for name in ("interactions", "items"):
        file = getattr(options, name)
        if file:
            tables[name], form = read_table(Path(file))
            print(f"{file}: {len(tables[name])} rows, {form}")
    text = tuple(each.strip() for each in (options.text or "").split(",") if each.strip())
    names = {role.replace("-", "_"): getattr(options, role.replace("-", "_")) for role in ROLES}
    rules = Rules(
        options.time_format,
        options.file_order,
        options.repeats,
        options.k_core,
        options.all_items,
    )
    data = from_dataframe(
        tables["interactions"], tables.get("items"), Columns(**names, text=text), rules
    )
    data.write(folder)
    print("\n".join(data.notes))
    print(_summary(data, folder, preset="sparse" if options.file_order else "small"))
    return 0


def _summary(data: ShopData, folder: Path, preset: str) -> str:
    """Say what came out, and the commands that come next.

    The preset is one that suits the times: `small` reads them as seconds, `sparse` their order.
    """
    rows, name = data.interactions, folder.name
    base, table = str(folder / name), str(folder / "item_text.npz")
    extract = [
        "ur4rec", "extract", "text", "--dataset", name, "--data-path", str(folder.parent),
        "--config", f"{base}.yaml", "--texts", f"{base}.texts.json", "--output", table,
    ]  # fmt: skip
    train = [
        "ur4rec", "train", "--preset", preset, "--dataset", name, "--config-files",
        f"{base}.yaml", f"--data_path={folder.parent}", "--user_profile_table=None",
        f"--item_text_table={table if data.texts else None}",
    ]  # fmt: skip
    words = [extract, train] if data.texts else [train]
    following = "\nThen: ".join(shlex.join(command) for command in words)
    return (
        f"{folder}: {len(rows)} interactions of {rows.user_id.nunique()} users and "
        f"{rows.item_id.nunique()} items, {len(data.texts)} texts.\nNext: {following}"
    )
