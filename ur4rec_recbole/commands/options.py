"""Options that `ur4rec extract`'s sub-commands and `ur4rec inspect` share."""

import argparse
from pathlib import Path

from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.items import Item, load_dataset, read_items


def add_dataset_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add how to find a data set and its columns."""
    parser.add_argument("--dataset", required=required, help="RecBole data set name")
    parser.add_argument("--data-path", help="folder that holds the data set's folder")
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="YAML", help="RecBole files: filters, eval_args"
    )
    for role in ("title", "year", "genres"):
        parser.add_argument(f"--{role}-field", help=f".item column of the {role}, else guessed")


def add_encoder_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the encoder and where its table goes."""
    parser.add_argument("--encoder", default=default, help="default: %(default)s")
    parser.add_argument("--pretrained", help="local weights for open_clip: or timm: models")
    parser.add_argument("--batch-size", type=int, default=32, help="inputs a forward pass")
    parser.add_argument("--threads", type=int, help="torch threads of the forward pass")
    parser.add_argument("--output", required=True, help="the table to write (.npz)")


def chosen_dataset(options: argparse.Namespace) -> UR4RecDataset:
    """Load the data set that the options name."""
    overrides = {"data_path": options.data_path} if options.data_path else {}
    return load_dataset(options.dataset, options.config, overrides)


def chosen_items(options: argparse.Namespace, dataset: UR4RecDataset) -> dict[str, Item]:
    """Read the items' columns as the options name them."""
    given = {
        "title": options.title_field,
        "year": options.year_field,
        "genres": options.genres_field,
    }
    return read_items(dataset, {role: name for role, name in given.items() if name})


def check_output(options: argparse.Namespace) -> None:
    """Refuse an output that is no .npz or lies where none can be made, before any work."""
    path = Path(options.output)
    if path.suffix != ".npz" or path.is_dir():
        raise InputError("--output", "must be the name of an .npz file", path.name, "Rename it.")
    if options.batch_size < 1:
        raise InputError("--batch-size", "must be at least 1", options.batch_size, "Raise it.")
