"""`ur4rec extract vectors`: from vectors that another tool made to a feature table.

ur4rec extract vectors --vectors posters.npz --modality image --encoder efficientnet_lite0 \
    --dataset shop --output dataset/shop/item_image.npz
"""

import argparse

import numpy as np

from ur4rec_recbole.commands.options import add_dataset_options, check_output, chosen_dataset
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import file_hash
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.items import item_tokens
from ur4rec_recbole.data.modalities import ITEM_TABLES, check_more_tables
from ur4rec_recbole.extract.vectors_file import read_vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_dataset_options(parser, required=False)
    group = parser.add_argument_group("vectors and table")
    group.add_argument("--output", required=True, metavar="TABLE.npz", help="the table to write")
    group.add_argument(
        "--vectors", required=True, metavar="FILE",
        help="an .npz of token and vector, or a .csv or .tsv whose first column has the ids",
    )  # fmt: skip
    group.add_argument(
        "--modality", required=True, metavar="NAME",
        help="what they are of: text, image, or another name of small letters, such as audio",
    )  # fmt: skip
    group.add_argument("--encoder", required=True, metavar="NAME", help="what made them")
    group.add_argument(
        "--encoder-version", default="", metavar="VERSION", help="its version, or its weights'"
    )


def run(options: argparse.Namespace) -> int:
    """Write the table and print what it covers."""
    check_output(options)
    if options.modality not in ITEM_TABLES:
        check_more_tables({options.modality: options.output})
    tokens, vectors = read_vectors(options.vectors)
    known = np.ones(len(tokens), dtype=bool)
    covered = f"{len(tokens)} items"
    if options.dataset:
        items = item_tokens(chosen_dataset(options))
        known = np.isin(tokens, items)
        covered = f"{known.sum()} of {len(items)} items; {(~known).sum()} of other items left out"
        if not known.any():
            raise InputError(
                f"{options.vectors}: ids", f"must be those of items of {options.dataset!r}",
                f"none of its {len(tokens)} is, for example {tokens[:3].tolist()}",
                "Write them as they stand in the data set.",
            )  # fmt: skip
    provenance = {
        "kind": f"item_{options.modality}",
        "encoder": options.encoder,
        "encoder_version": options.encoder_version,
        "source": "vectors file",
        "source_sha256": file_hash(options.vectors),
        "split": "none",
    }
    table = FeatureTable(tokens[known], vectors[known], provenance, name=options.vectors)
    table.save(options.output)
    print(f"{options.output}: width {table.width}, {covered}.")
    return 0
