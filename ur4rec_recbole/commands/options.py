"""Options that several sub-commands share."""

import argparse
from pathlib import Path

from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.data.dataset import UR4RecDataset
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


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add model, data set, preset and configuration files."""
    parser.add_argument("--model", "-m", help="model name, such as UR4Rec or SASRec")
    parser.add_argument("--dataset", "-d", help="data set name, such as ml-100k")
    parser.add_argument("--preset", help="a shipped configuration, such as small or balanced")
    parser.add_argument(
        "--config-files", "--config_files", nargs="+", default=[], metavar="YAML",
        help="configuration files; later ones come over earlier ones",
    )  # fmt: skip


def chosen_files(options: argparse.Namespace) -> list[str]:
    """Return the preset's file and the configuration files, in order."""
    files = [name for each in options.config_files for name in each.split()]
    if options.preset is None:
        return files
    file = find_file(f"properties/{options.preset}.yaml")
    if not file.is_file():
        names = sorted(
            path.stem for path in find_file("properties/small.yaml").parent.glob("*.yaml")
        )
        raise InputError(
            "--preset", f"must be one of {names}", options.preset,
            nearest(options.preset, names) or "Name one of these.",
        )  # fmt: skip
    return [str(file), *files]


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
