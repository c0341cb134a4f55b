"""`ur4rec extract text|image|profile|vectors`: one module per kind of table.

ur4rec extract text --dataset ml-100k --output dataset/ml-100k/item_text.npz
"""

import argparse
import importlib
import os

from ur4rec_recbole.core.errors import InputError

PARTS = {
    "text": ("ur4rec_recbole.commands.extract_text", "make a table of item texts"),
    "image": ("ur4rec_recbole.commands.extract_image", "make a table of item images"),
    "profile": (
        "ur4rec_recbole.commands.extract_profile",
        "make a table of user profiles, each written from a user's first n interactions",
    ),
    "vectors": (
        "ur4rec_recbole.commands.extract_vectors",
        "make a table of items' vectors that another tool made",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command per kind of table."""
    parts = parser.add_subparsers(dest="part", required=True)
    for name, (module, summary) in PARTS.items():
        part = parts.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        importlib.import_module(module).add_arguments(part)


def run(options: argparse.Namespace) -> int:
    """Run the chosen kind."""
    for name in ("threads", "batch_size"):
        value = getattr(options, name, None)  # vectors has neither
        if value is not None and value < 1:
            raise InputError(
                f"--{name.replace('_', '-')}", "must be at least 1", value, "Raise it."
            )
    if getattr(options, "threads", None) is not None:
        import torch

        torch.set_num_threads(options.threads)
    # Tokenizers warn and fall back to one thread when a process that has used them forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    return int(importlib.import_module(PARTS[options.part][0]).run(options) or 0)
