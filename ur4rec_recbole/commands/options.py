"""Options that several sub-commands share."""

import argparse
import json
import tempfile
from pathlib import Path

from ur4rec_recbole.core.command_line import settings_from
from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.data.items import Item, load_dataset, read_items
from ur4rec_recbole.extract.lexical import LEARNED

# Endings of the files that `ur4rec extract` writes beside a table.
MASKED, ANSWERS = "masked.json", "answers.sqlite"
BESIDE = (MASKED, LEARNED, ANSWERS)
# Each option's name, and the name of the key that it sets, which is taken as well.
CONFIG_FILES, DATA_PATH = ("--config-files", "--config_files"), ("--data-path", "--data_path")


def add_dataset_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the options that tell where a data set and its columns are."""
    group = parser.add_argument_group("data set")
    group.add_argument(
        "--dataset", "-d", required=required, metavar="NAME", help="name, such as ml-100k"
    )
    group.add_argument(
        *DATA_PATH, metavar="FOLDER", help="where the data set's folder lies; default: dataset/"
    )
    group.add_argument(
        *CONFIG_FILES, "--config", nargs="+", default=[], metavar="YAML",
        help="configuration files: columns, filters and the split decide what is covered",
    )  # fmt: skip


def add_item_options(parser: argparse.ArgumentParser) -> None:
    """Add the names of the columns that `chosen_items` reads."""
    group = parser.add_argument_group("columns of the items")
    for role in ("title", "year", "genres"):
        group.add_argument(
            f"--{role}-field", metavar="COLUMN",
            help=f"column of the {role} in the .item file; default: found by its name",
        )  # fmt: skip


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add model, data set, preset and configuration files."""
    parser.add_argument("--model", "-m", help="model name, such as UR4Rec or SASRec")
    parser.add_argument("--dataset", "-d", help="data set name, such as ml-100k")
    parser.add_argument(*DATA_PATH, metavar="FOLDER", help="where its folder lies [dataset/]")
    parser.add_argument("--preset", help="a shipped configuration, such as small or balanced")
    parser.add_argument(
        *CONFIG_FILES, nargs="+", default=[], metavar="YAML",
        help="configuration files; later ones override earlier ones",
    )  # fmt: skip


def chosen_files(options: argparse.Namespace) -> list[str]:
    """Return the preset's file and the configuration files, in order.

    RecBole takes several in one word, with spaces between them; a file's name may have some, too.
    """
    words = options.config_files
    files = [name for each in words for name in ([each] if Path(each).is_file() else each.split())]
    if options.preset is None:
        return files
    presets = _presets()
    if options.preset not in presets:
        raise InputError(
            "--preset", f"must be one of {sorted(presets)}", options.preset,
            nearest(options.preset, presets) or "Name one of these.",
        )  # fmt: skip
    return [str(presets[options.preset]), *files]


def chosen_settings(options: argparse.Namespace) -> list[str]:
    """Return the --key=value words, those that have an option of their own among them."""
    path = options.data_path
    return [*options.settings, *([f"--data_path={quoted(path)}"] if path else [])]


def quoted(text: str) -> str:
    """Return a text as YAML reads it back, even one that looks like a number or a list."""
    return json.dumps(text, ensure_ascii=False)


def _presets() -> dict[str, Path]:
    """Return the shipped configurations by name; plans of experiments are none."""
    folder = find_file("properties/small.yaml").parent
    texts = {file: file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")}
    return {
        file.stem: file
        for file, text in texts.items()
        if "\nmodel: " in text and "\nentries:" not in text
    }


def add_encoder_options(parser: argparse.ArgumentParser, default: str, kinds: str) -> None:
    """Add the encoder and the table to write; `kinds` describes the encoders for --help."""
    group = parser.add_argument_group("encoder and table")
    group.add_argument("--output", required=True, metavar="TABLE.npz", help="the table to write")
    group.add_argument(
        "--encoder", default=default, metavar="NAME", help=f"{kinds}; default: %(default)s"
    )
    group.add_argument(
        "--pretrained", metavar="FILE", help="local weights of an open_clip: or timm: model"
    )
    group.add_argument(
        "--device", default="auto",
        help="where the encoder runs, such as cpu or cuda:0; default: the GPU if there is one",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", type=int, default=32, metavar="N",
        help="inputs encoded at a time; default: %(default)s",
    )  # fmt: skip
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads of the encoder")


def chosen_dataset(options: argparse.Namespace) -> UR4RecDataset:
    """Load the data set that the options name."""
    overrides = {"data_path": options.data_path} if options.data_path else {}
    with settings_from(getattr(options, "settings", ())):
        return load_dataset(options.dataset, options.config_files, overrides)


def chosen_items(options: argparse.Namespace, dataset: UR4RecDataset) -> dict[str, Item]:
    """Read the items' columns as the options name them."""
    given = {
        "title": options.title_field,
        "year": options.year_field,
        "genres": options.genres_field,
    }
    return read_items(dataset, {role: name for role, name in given.items() if name})


def check_output(options: argparse.Namespace) -> None:
    """Refuse, before any work, an output that cannot be written; make its folder."""
    path = Path(options.output)
    if path.suffix != ".npz":
        raise InputError("--output", "must be the name of an .npz file", path.name, "Rename it.")
    beside = [path, *(Path(f"{path}.{ending}") for ending in BESIDE)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in beside:
            if each.is_dir():
                raise IsADirectoryError(f"{each.name} is a folder")
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{each.name}."):
                pass
    except OSError as error:
        raise InputError(
            f"--output {path}", "must be a file that can be written", error,
            "Name another file or folder.",
        ) from error  # fmt: skip
