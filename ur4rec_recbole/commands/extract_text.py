"""`ur4rec extract text`: from a data set or a file of texts to an item-text table.

ur4rec extract text --dataset ml-100k --output item_text.npz
ur4rec extract text --dataset ml-100k --texts item_descriptions.json --encoder tfidf --output t.npz
"""

import argparse

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
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.data.items import item_tokens
from ur4rec_recbole.extract.encoders import DEFAULT_ENCODER, TEXT_ENCODERS
from ur4rec_recbole.extract.prompts import ITEM_TASK, item_prompt, task_hash
from ur4rec_recbole.extract.text import extract_text
from ur4rec_recbole.extract.texts_file import LAYOUT, read_texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_dataset_options(parser)
    add_item_options(parser)
    add_encoder_options(parser, DEFAULT_ENCODER, TEXT_ENCODERS)
    group = parser.add_argument_group("texts")
    group.add_argument(
        "--texts", metavar="FILE", help=f"texts by item id ({', '.join(LAYOUT)}; UTF-8)"
    )
    group.add_argument(
        "--id-column", metavar="COLUMN", help="column of the item id; default: found by its name"
    )
    group.add_argument(
        "--text-column", nargs="+", default=[], metavar="COLUMN",
        help="columns to join into one text; default: one, found by its name",
    )  # fmt: skip
    group.add_argument(
        "--write", choices=("columns", "llm"), default="columns",
        help="without --texts: make sentences of the .item columns, or ask a language model",
    )  # fmt: skip
    add_llm_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write the table and print what it covers."""
    check_output(options)
    _check_writer(options)
    encoder = chosen_encoder(options)
    dataset = chosen_dataset(options)
    tokens = item_tokens(dataset)
    written = _texts(options, dataset)
    if written is None:
        return 0
    found, source = written
    texts = {token: found[token] for token in tokens if found.get(token, "").strip()}
    foreign = len(set(found) - set(tokens))
    table = extract_text(texts, encoder, source)
    covered = (
        f"{len(table)} of {len(tokens)} items, width {table.width}; "
        f"{len(tokens) - len(table)} items without a text, "
        f"{foreign} texts of items outside the data set left out."
    )
    write_table(table, encoder, options, covered)
    return 0


def _check_writer(options: argparse.Namespace) -> None:
    """Refuse options that nothing would follow."""
    if options.write != "llm":
        check_no_llm(options)
    elif options.texts:
        raise InputError(
            "--write llm", "must come without --texts", f"--texts {options.texts}",
            "Leave one of them out.",
        )  # fmt: skip


def _texts(
    options: argparse.Namespace, dataset: UR4RecDataset
) -> tuple[dict[str, str], str] | None:
    """Return texts by item and what they are; None after a dry run."""
    if options.texts:
        return read_texts(options.texts, options.id_column, options.text_column), "texts file"
    items = chosen_items(options, dataset)
    if not items:
        raise InputError(
            f"dataset {options.dataset!r}", "must have an .item file to write sentences from",
            "none", "Give texts with --texts.",
        )  # fmt: skip
    if options.write == "columns":
        return {token: item.sentence for token, item in items.items()}, "the items' own columns"
    texts = write_texts(options, {token: item_prompt(item) for token, item in items.items()})
    if texts is None:
        return None
    source = f"llm {chosen_model(options)}, task {task_hash(ITEM_TASK)}"
    return dict(zip(items, texts, strict=True)), source
