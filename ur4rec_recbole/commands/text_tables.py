"""What `ur4rec extract text` and `profile` share: the encoder, and the files that they end with."""

import argparse

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.encoders import TextEncoder, save_learned, text_encoder
from ur4rec_recbole.extract.lexical import LEARNED


def chosen_encoder(options: argparse.Namespace) -> TextEncoder:
    """Load the encoder that the options name.

    To be called first, so that a wrong name is reported before any text is paid for.
    """
    name = options.encoder
    if options.pretrained and not any(part.startswith("open_clip:") for part in name.split("+")):
        raise InputError(
            "--pretrained", "must come with an encoder open_clip:MODEL", f"--encoder {name}",
            "Leave it out, or name the encoder whose weights it has.",
        )  # fmt: skip
    return text_encoder(name, options.pretrained, options.batch_size, options.device)


def write_table(
    table: FeatureTable, encoder: TextEncoder, options: argparse.Namespace, covered: str
) -> None:
    """Save a table and what its encoder has learned, and print what the table covers."""
    table.save(options.output)
    save_learned(encoder, f"{options.output}.{LEARNED}")
    print(f"{options.output}: {covered}")
    print(f"  encoder {encoder.name}: {encoder.version}")
