"""`ur4rec extract profile`: from the training interactions to a user-profile table.

ur4rec extract profile --dataset ml-100k --output user_profile.npz
"""

import argparse

from ur4rec_recbole.extract.encoders import DEFAULT_ENCODER, text_encoder
from ur4rec_recbole.extract.options import (
    add_dataset_options,
    add_encoder_options,
    check_output,
    chosen_dataset,
    chosen_items,
)
from ur4rec_recbole.extract.profile import (
    DEFAULT_LENGTHS,
    extract_profile,
    plan,
    training_histories,
    write_snapshots,
)
from ur4rec_recbole.extract.template import template_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_dataset_options(parser)
    add_encoder_options(parser, DEFAULT_ENCODER)
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=list(DEFAULT_LENGTHS),
        help="history lengths to write a snapshot at; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--no-last", dest="last", action="store_false",
        help="leave out the snapshot at each user's last training interaction",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the table and say what it covers."""
    check_output(options)
    dataset = chosen_dataset(options)
    items = chosen_items(options, dataset)
    train = dataset.build()[0]
    planned = plan(training_histories(train), options.lengths, options.last)
    snapshots = write_snapshots(planned, lambda history: template_profile(history, items))
    encoder = text_encoder(options.encoder, options.pretrained, options.batch_size)
    table = extract_profile(snapshots, encoder, train, "template")
    table.save(options.output)
    users = len({snapshot.user for snapshot in snapshots})
    print(
        f"{options.output}: {len(table)} snapshots of {users} users, width {table.width}, "
        f"{table.provenance['split']}."
    )
    return 0
