"""`ur4rec extract profile`: from the training interactions to a user-profile table.

ur4rec extract profile --dataset ml-100k --output user_profile.npz
"""

import argparse
from collections.abc import Mapping, Sequence

from ur4rec_recbole.commands.llm_options import (
    add_llm_options,
    check_no_llm,
    chosen_model,
    write_texts,
)
from ur4rec_recbole.commands.options import (
    add_dataset_options,
    add_encoder_options,
    add_item_options,
    check_output,
    chosen_dataset,
    chosen_items,
)
from ur4rec_recbole.commands.text_tables import chosen_encoder, write_table
from ur4rec_recbole.data.items import Item
from ur4rec_recbole.extract.encoders import DEFAULT_ENCODER, TEXT_ENCODERS
from ur4rec_recbole.extract.profile import (
    DEFAULT_LENGTHS,
    Snapshot,
    extract_profile,
    plan,
    training_histories,
    write_snapshots,
)
from ur4rec_recbole.extract.prompts import PROFILE_TASK, profile_prompt, task_hash
from ur4rec_recbole.extract.template import History, template_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_dataset_options(parser)
    add_item_options(parser)
    add_encoder_options(parser, DEFAULT_ENCODER, TEXT_ENCODERS)
    group = parser.add_argument_group("profiles")
    group.add_argument(
        "--lengths", nargs="+", type=int, default=list(DEFAULT_LENGTHS), metavar="N",
        help="numbers of interactions after which a profile is written; default: %(default)s",
    )  # fmt: skip
    group.add_argument(
        "--no-last", dest="last", action="store_false",
        help="leave out the profile after each user's last training interaction",
    )  # fmt: skip
    group.add_argument(
        "--writer", choices=("template", "llm"), default="template",
        help="a fixed sentence of genres, decades and favourites, or a language model",
    )  # fmt: skip
    add_llm_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write the table and print what it covers."""
    check_output(options)
    if options.writer != "llm":
        check_no_llm(options)
    encoder = chosen_encoder(options)
    dataset = chosen_dataset(options)
    items = chosen_items(options, dataset)
    train = dataset.build()[0]
    planned = plan(training_histories(train), options.lengths, options.last)
    snapshots, writer = _written(options, planned, items)
    if snapshots is None:
        return 0
    table = extract_profile(snapshots, encoder, train, writer)
    users = len({snapshot.user for snapshot in snapshots})
    covered = f"{len(table)} snapshots of {users} users, width {table.width}"
    write_table(table, encoder, options, f"{covered}, {table.provenance['split']}.")
    return 0


def _written(
    options: argparse.Namespace, planned: Sequence[tuple[str, History]], items: Mapping[str, Item]
) -> tuple[list[Snapshot] | None, str]:
    """Write the texts; return them (None after a dry run) and the writer's name."""
    if options.writer == "template":
        return write_snapshots(planned, lambda past: template_profile(past, items)), "template"
    prompts = {
        f"user {user} after {len(past)}": profile_prompt(past, items) for user, past in planned
    }
    texts = write_texts(options, prompts)
    if texts is None:
        return None, ""
    snapshots = [
        Snapshot(user, len(past), text) for (user, past), text in zip(planned, texts, strict=True)
    ]
    return snapshots, f"llm {chosen_model(options)}, task {task_hash(PROFILE_TASK)}"
