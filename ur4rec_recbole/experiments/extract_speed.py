"""How fast the extractors are beside their bare models, measured in one run on the same threads.

python -m ur4rec_recbole.experiments.extract_speed image --images posters/ --threads 2 --workers 2
python -m ur4rec_recbole.experiments.extract_speed text --texts item_descriptions.json --threads 2

Each round times the bare model, the extractor and the bare model again; the fastest passes of each
are compared, so that a pass which another program disturbed counts for neither, and the bare model,
with twice the passes, has the better chances. Image models get random weights, whose values do not
matter for speed.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure one kind and print the result as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    image = kinds.add_parser("image")
    image.add_argument("--images", required=True)
    image.add_argument("--model", default="ViT-B-32", help="open_clip architecture")
    image.add_argument("--workers", type=int, default=2)
    text = kinds.add_parser("text")
    text.add_argument("--texts", required=True)
    for kind in (image, text):
        kind.add_argument("--threads", type=int, default=2)
        kind.add_argument("--batch-size", type=int, default=32)
        kind.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    measured = image_speed(options) if options.kind == "image" else text_speed(options)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    print(json.dumps({**vars_of(options), **measured, **machine}, indent=1))


def image_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Time decoded batches through the model against files to a table."""
    import open_clip
    from safetensors.torch import save_file

    from ur4rec_recbole.extract.decoding import DecodeRules, ImageFiles, collate
    from ur4rec_recbole.extract.image import ImageRun, extract_images, find_images
    from ur4rec_recbole.extract.image_models import image_model

    files, _ = find_images(options.images)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        state = open_clip.create_model(options.model).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, weights)
        model = image_model(f"open_clip:{options.model}", str(weights))
        rules = DecodeRules(model.side)
        size = options.batch_size
        dataset = ImageFiles(files, model.preprocess, rules)
        batch, *_ = collate([dataset[place] for place in range(min(size, len(files)))])
        run = ImageRun(batch_size=size, workers=options.workers)
        found: dict[str, int] = {}

        def bare() -> None:
            for start in range(0, len(files), size):
                model.encode(batch[: min(size, len(files) - start)])

        def extractor() -> None:
            output = str(Path(folder) / "table.npz")
            table, masked = extract_images(files, model, rules, run, output)
            found.update(vectors=len(table), masked=len(masked))

        model.encode(batch)  # warm
        return {**compare(bare, extractor, len(files), options.rounds), **found}


def text_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Time sentence-transformers' own encode against texts to a table."""
    from ur4rec_recbole.extract.encoders import DEFAULT_ENCODER, SentenceEncoder, text_encoder
    from ur4rec_recbole.extract.text import extract_text
    from ur4rec_recbole.extract.texts_file import read_texts

    texts = read_texts(options.texts)
    encoder = text_encoder(DEFAULT_ENCODER, batch_size=options.batch_size)
    assert isinstance(encoder, SentenceEncoder)
    words = list(texts.values())
    encoder.model.encode(words[:32])  # warm

    def bare() -> None:
        encoder.model.encode(words, batch_size=options.batch_size, show_progress_bar=False)

    def extractor() -> None:
        extract_text(texts, encoder, "throughput")

    return compare(bare, extractor, len(texts), options.rounds)


def compare(
    bare: Callable[[], None], extractor: Callable[[], None], count: int, rounds: int
) -> dict[str, Any]:
    """Time both alternately; returns inputs a second and the extractor's share of the bare speed.

    The fastest passes count. `processor_share` is the same in processor seconds of this process
    alone; the extractor's decoding processes are not in it.
    """
    clocks: dict[str, list[float]] = {"bare": [], "extractor": []}
    processor: dict[str, list[float]] = {"bare": [], "extractor": []}
    for name in ["bare", "extractor", "bare"] * rounds:
        wall, used = time.perf_counter(), time.process_time()
        (bare if name == "bare" else extractor)()
        clocks[name].append(time.perf_counter() - wall)
        processor[name].append(time.process_time() - used)
    seconds = {name: min(times) for name, times in clocks.items()}
    used_seconds = {name: min(times) for name, times in processor.items()}
    return {
        "inputs": count,
        "bare_per_second": round(count / seconds["bare"], 2),
        "extractor_per_second": round(count / seconds["extractor"], 2),
        "share": round(seconds["bare"] / seconds["extractor"], 4),
        "processor_share": round(used_seconds["bare"] / used_seconds["extractor"], 4),
        "bare_seconds": [round(value, 2) for value in clocks["bare"]],
        "extractor_seconds": [round(value, 2) for value in clocks["extractor"]],
    }


def vars_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options without the paths of this machine."""
    return {key: value for key, value in vars(options).items() if key not in ("images", "texts")}


if __name__ == "__main__":
    main()
