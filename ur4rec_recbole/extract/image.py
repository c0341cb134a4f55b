"""Item images to a feature table: `ur4rec extract image`.

Worker processes read, decode and resize; this process runs the model, shard after shard.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError, printable
from ur4rec_recbole.core.files import sole_use
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.decoding import SUFFIXES, DecodeRules, ImageFiles, collate
from ur4rec_recbole.extract.image_models import ImageModel
from ur4rec_recbole.extract.shards import Shard, ShardFolder

Progress = Callable[[int], None]


@dataclass(frozen=True)
class ImageRun:
    """How a run goes about its work; nothing here changes a vector but `precision`.

    Parameters
    ----------
    batch_size
        Images a forward pass.
    workers
        Processes that decode and resize; 0 does it here.
    shard_size
        Images a shard, the most that a killed run does again.
    precision
        "fp32", or "bf16" for autocast.
    resume
        Whether to take finished shards from an earlier run.
    """

    batch_size: int = 32
    workers: int = 2
    shard_size: int = 512
    precision: str = "fp32"
    resume: bool = False


def find_images(
    folder: str, tokens: Collection[str] | None = None
) -> tuple[list[Path], dict[str, str]]:
    """List the image files of a folder by item id, and say what is left out.

    Parameters
    ----------
    folder
        Holds files named ITEM_ID.jpg, .jpeg, .png or .webp.
    tokens
        Items of the data set; None takes every file.

    Returns
    -------
    files
        One an item, sorted by name.
    left_out
        File name -> reason, of further files of an item, of items outside the data set and of names
        that no table can hold.
    """
    if not Path(folder).is_dir():
        raise InputError("--images", "must be a folder", Path(folder).name, "Check the path.")
    chosen: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for file in sorted(Path(folder).iterdir()):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        if not _is_utf8(file.name):
            left_out[printable(file.name)] = "name is not in UTF-8"
        elif tokens is not None and file.stem not in tokens:
            left_out[file.name] = "item is not in the data set"
        elif file.stem in chosen:
            left_out[file.name] = f"second file of an item; {chosen[file.stem].name} is used"
        else:
            chosen[file.stem] = file
    if not chosen:
        raise InputError(
            f"--images {Path(folder).name!r}",
            f"must hold files named by item id with one of {list(SUFFIXES)}",
            f"none of use, {len(left_out)} left out",
            "Name the files ITEM_ID.jpg.",
        )
    return list(chosen.values()), left_out


def _is_utf8(name: str) -> bool:
    """Tell whether a file's name, which may be any bytes, is a text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def extract_images(
    files: Sequence[Path],
    model: ImageModel,
    rules: DecodeRules,
    run: ImageRun,
    output: str,
    progress: Progress = lambda count: None,
) -> tuple[FeatureTable, dict[str, str]]:
    """Write the table of `files` to `output`.

    Returns
    -------
    table
        One row for every image that gave a vector.
    masked
        File name -> reason, of the others.
    """
    settings = {
        "encoder": model.name,
        "encoder_version": model.version,
        "precision": run.precision,
        "rules": repr(asdict(rules)),
    }
    folder = ShardFolder(output, settings, files, run.shard_size)
    with sole_use(folder.path, f"--output {output}"):  # two would remove each other's shards
        done = folder.open(run.resume)
        waiting = [index for index in range(folder.count) if index not in done]
        progress(sum(len(_span(index, files, run)) for index in done))
        results = _decoded(waiting, files, model, rules, run)
        for index in waiting:
            folder.write(index, _shard(_span(index, files, run), results, model, run, progress))
        table, masked = _merge(folder, files, settings)
        table.save(output)
        folder.remove()
    return table, masked


def _span(index: int, files: Sequence[Path], run: ImageRun) -> range:
    start = index * run.shard_size
    return range(start, min(start + run.shard_size, len(files)))


def _decoded(
    waiting: Sequence[int],
    files: Sequence[Path],
    model: ImageModel,
    rules: DecodeRules,
    run: ImageRun,
) -> Iterator[Any]:
    """Yield decoded batches, none crossing a shard's end, from one set of workers."""
    import torch

    batches = [
        list(span[start : start + run.batch_size])
        for span in (_span(index, files, run) for index in waiting)
        for start in range(0, len(span), run.batch_size)
    ]
    loader: Any = torch.utils.data.DataLoader(
        ImageFiles(list(files), model.preprocess, rules),  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=run.workers,
        collate_fn=collate,
        prefetch_factor=4 if run.workers else None,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "a decoding process", "must survive", f"its death: {str(error).splitlines()[0]}",
            "Continue with --resume, with a lower --max-pixels if memory ran out.",
        ) from error  # fmt: skip


def _shard(
    span: range, batches: Iterator[Any], model: ImageModel, run: ImageRun, progress: Progress
) -> Shard:
    """Run the model over one shard's batches."""
    places: list[int] = []
    vectors: list[np.ndarray] = []
    reasons: dict[int, str] = {}
    digests = np.zeros((len(span), 32), dtype=np.uint8)
    seen = 0
    while seen < len(span):
        images, good, results = next(batches)
        for result in results:
            if result.digest:
                digests[result.place - span.start] = np.frombuffer(result.digest, np.uint8)
            if result.reason:
                reasons[result.place] = result.reason
        if images is not None:
            found = model.encode(images, run.precision)  # [B, W]
            finite = np.isfinite(found).all(axis=1) & (np.abs(found).max(axis=1) > 0)
            for place, sound in zip(good, finite, strict=True):
                if sound:
                    places.append(place)
                else:
                    reasons[place] = "no finite vector"
            vectors.append(found[finite].astype(np.float16))
        seen += len(results)
        progress(len(results))
    stacked = np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float16)
    return Shard(np.array(places, dtype=np.int64), stacked, digests, reasons)


def _merge(
    folder: ShardFolder, files: Sequence[Path], settings: dict[str, str]
) -> tuple[FeatureTable, dict[str, str]]:
    """Join the shards into one table; only here are all vectors held at once."""
    shards = [folder.read(index) for index in range(folder.count)]
    places = np.concatenate([shard.places for shard in shards])
    masked = {files[p].name: why for shard in shards for p, why in shard.reasons.items()}
    if not len(places):
        raise InputError(
            "--images", "must hold at least one image that can be used",
            f"{len(files)} files, all masked, such as {list(masked.items())[:3]}",
            "Mend the files, or see --accept.",
        )  # fmt: skip
    digest = hashlib.sha256()
    for file, content in zip(files, np.concatenate([s.digests for s in shards]), strict=True):
        digest.update(f"{file.stem}\t".encode() + content.tobytes())
    provenance = {
        "kind": "item_image",
        **settings,
        "source": f"{len(files)} image files, {len(masked)} masked",
        "source_sha256": digest.hexdigest(),
        "split": "none",
    }
    vectors = np.concatenate([shard.vectors for shard in shards if len(shard.places)])
    return FeatureTable(np.array([files[p].stem for p in places]), vectors, provenance), masked
