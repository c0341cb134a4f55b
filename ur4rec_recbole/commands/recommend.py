"""`ur4rec recommend`: for one history on the screen, or for many users into a file.

ur4rec recommend runs/shop --history P001,P042
ur4rec recommend runs/shop --users users.txt --output recommendations.csv
ur4rec recommend runs/shop --interactions today.csv --output recommendations.parquet
"""

import argparse
from pathlib import Path

import pandas as pd

from ur4rec_recbole.core.errors import InputError, printable
from ur4rec_recbole.datasets.table_files import read_table
from ur4rec_recbole.datasets.tables import Columns, from_dataframe
from ur4rec_recbole.extract.progress import progress_bar
from ur4rec_recbole.serving.batches import check_output, recommend_to_file
from ur4rec_recbole.serving.ranking import require_number
from ur4rec_recbole.serving.recommender import Recommender


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", help="a run's folder, or one that `ur4rec export` wrote")
    parser.add_argument("--history", help="item ids, oldest first, separated by commas")
    parser.add_argument("--users", help="a file of user ids, one a line")
    parser.add_argument("--interactions", help="what has happened since: CSV, JSONL, Parquet")
    for role in ("user", "item", "time"):
        parser.add_argument(f"--{role}", metavar="COLUMN", help="of --interactions [guessed]")
    parser.add_argument("--k", type=int, default=10, help="items a history [10]")
    parser.add_argument("--now", help="time of the request: seconds or an ISO date [the clock]")
    parser.add_argument("--repeat", action="store_true", help="recommend known items, too")
    parser.add_argument(
        "--only-new", action="store_true", help="items without training interactions alone"
    )
    parser.add_argument(
        "--output", "--out", dest="out", metavar="FILE",
        help="for many users: .csv, .tsv, .jsonl or .parquet",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Recommend and print, or write."""
    asked = {name: getattr(options, name) for name in ("k", "now", "repeat", "only_new")}
    if (options.history is None) == (options.users is None and options.interactions is None):
        raise InputError(
            "ur4rec recommend", "needs --history, or --users and --interactions",
            "both" if options.history else "neither", "Give one of them.",
        )  # fmt: skip
    require_number(options.k)
    _refuse_unused(options)
    if options.out:
        check_output(Path(options.out))
    if options.history is not None:
        return _one(options, asked)
    since = _since(options)
    users = _users(options.users) if options.users else list(pd.unique(since.user_id))  # type: ignore[union-attr]
    recommender = Recommender.load(options.model)
    if not options.out:
        print(recommender.recommend_users(users, since, **asked).to_csv(sep="\t", index=False))
        return 0
    with progress_bar(len(users), "users") as advance:
        done = recommend_to_file(recommender, users, Path(options.out), since, advance, **asked)
    told = f"; {done} batches were done before" if done else ""
    print(f"{options.out}: {options.k} items for each of {len(users)} users{told}.")
    return 0


def _refuse_unused(options: argparse.Namespace) -> None:
    """Raise `InputError` for options that say nothing of what is asked for."""
    of_many = {"--output": options.out} if options.history is not None else {}
    named = {f"--{name}": getattr(options, name) for name in ("user", "item", "time")}
    unused = of_many | (named if options.interactions is None else {})
    given = [name for name, value in unused.items() if value is not None]
    if given:
        raise InputError(
            ", ".join(given), "must come with --interactions, or --output with --users", "neither",
            "Leave them out; --users names who is recommended to.",
        )  # fmt: skip


def _one(options: argparse.Namespace, asked: dict) -> int:
    tokens = [each.strip() for each in options.history.split(",") if each.strip()]
    recommender = Recommender.load(options.model)
    found = recommender.recommend(tokens, **asked)
    if found.unknown:
        print(f"not in the catalogue: {', '.join(found.unknown)}")
    print_items(recommender, found)
    return 0


def print_items(recommender: Recommender, found: tuple) -> None:
    """Print items with scores and titles."""
    for item, score in zip(found[0], found[1], strict=True):
        line = f"{score:10.4f}  {item}  {recommender.titles.get(item, '')}"
        print(printable(line).rstrip())


def _users(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise InputError("--users", "must be a text file in UTF-8", error, "Check it.") from error
    users = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not users:
        raise InputError("--users", "must name a user", "none", "Write one id a line.")
    return users


def _since(options: argparse.Namespace) -> pd.DataFrame | None:
    if options.interactions is None:
        return None
    columns = Columns(options.user, options.item, options.time)
    data = from_dataframe(read_table(Path(options.interactions)).frame, None, columns)
    print("\n".join(data.notes))
    return data.interactions
