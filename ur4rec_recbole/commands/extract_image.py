"""`ur4rec extract image`: from a folder of images to an item-image table.

ur4rec extract image --images posters/ --dataset ml-100k --output item_image.npz
"""

import argparse
import json
from collections import Counter

from ur4rec_recbole.commands.options import (
    MASKED,
    add_dataset_options,
    add_encoder_options,
    check_output,
    chosen_dataset,
)
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.files import atomic_write
from ur4rec_recbole.data.items import item_tokens
from ur4rec_recbole.extract.decoding import UNUSUAL, DecodeRules
from ur4rec_recbole.extract.image import ImageRun, extract_images, find_images
from ur4rec_recbole.extract.image_models import (
    DEFAULT_IMAGE_ENCODER,
    IMAGE_ENCODERS,
    PRECISIONS,
    image_model,
)
from ur4rec_recbole.extract.progress import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_dataset_options(parser, required=False)
    add_encoder_options(parser, DEFAULT_IMAGE_ENCODER, IMAGE_ENCODERS)
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32",
        help="number format of the encoder; bf16 is faster and less exact",
    )  # fmt: skip
    _add_image_options(parser.add_argument_group("images"))


def _add_image_options(group: argparse._ArgumentGroup) -> None:
    rules = DecodeRules(side=0)
    group.add_argument(
        "--images", required=True, metavar="FOLDER", help="of ITEM_ID.jpg, .jpeg, .png, .webp files"
    )
    group.add_argument(
        "--accept", nargs="+", choices=UNUSUAL, default=[],
        help="convert these kinds to RGB (an animation's first frame) instead of leaving them out",
    )  # fmt: skip
    group.add_argument(
        "--max-pixels", type=int, default=rules.max_pixels, metavar="N",
        help="leave out images of more pixels; default: %(default)s",
    )  # fmt: skip
    group.add_argument(
        "--min-side", type=int, default=rules.min_side, metavar="N",
        help="leave out images with a side of fewer pixels; default: %(default)s",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=int, default=ImageRun.workers, metavar="N",
        help="processes that read images; default: %(default)s",
    )  # fmt: skip
    group.add_argument(
        "--shard-size", type=int, default=ImageRun.shard_size, metavar="N",
        help="images between two saves of progress; default: %(default)s",
    )  # fmt: skip
    group.add_argument("--resume", action="store_true", help="go on with a run that was killed")


def run(options: argparse.Namespace) -> int:
    """Write the table and a list of masked images, and print a summary."""
    check_output(options)
    for name in ("shard_size", "max_pixels", "min_side"):
        _at_least(name, getattr(options, name), 1)
    _at_least("workers", options.workers, 0)
    tokens = set(item_tokens(chosen_dataset(options))) if options.dataset else None
    files, left_out = find_images(options.images, tokens)
    model = image_model(options.encoder, options.pretrained, options.device)
    rules = DecodeRules(
        model.side, options.max_pixels, options.min_side, tuple(sorted(options.accept))
    )
    how = ImageRun(
        options.batch_size, options.workers, options.shard_size, options.precision, options.resume
    )
    with progress_bar(len(files), "images") as progress:
        table, masked = extract_images(files, model, rules, how, options.output, progress)
    report = f"{options.output}.{MASKED}"
    with atomic_write(report) as file:
        file.write(json.dumps({"masked": masked, "left_out": left_out}, indent=1).encode())
    print(f"{options.output}: {len(table)} of {len(files)} images, width {table.width}.")
    kinds = Counter(reason.partition(":")[0] for reason in masked.values())
    for kind, count in sorted(kinds.items()):
        names = [name for name, reason in masked.items() if reason.startswith(kind)]
        print(f"  masked, {kind}: {count}, such as {', '.join(names[:5])}")
    print(f"  left out: {len(left_out)} files. All reasons: {report}")
    return 0


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        option = f"--{name.replace('_', '-')}"
        raise InputError(option, f"must be at least {least}", value, "Raise it.")
