"""One image file to one tensor, or a reason why not. Runs in worker processes.

Nothing that a file contains may stop a run: what cannot be used gives a reason and no vector.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Of all that PIL reads, only these: some of the others run external programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
UNUSUAL = ("greyscale", "cmyk", "animated")
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class DecodeRules:
    """What is decoded and what is masked.

    Parameters
    ----------
    side
        Pixels of the shorter side that the model wants.
    max_pixels
        Width x height above which a file counts as a decompression bomb; read from the header.
    min_side
        Pixels; smaller images are placeholders.
    accept
        Of `UNUSUAL`, what is converted to RGB (the first frame) instead of masked.
    """

    side: int
    max_pixels: int = 89_478_485  # PIL's own limit: a quarter of a GiB in RGB
    min_side: int = 2
    accept: tuple[str, ...] = ()


class Masked(Exception):
    """An image that gives no vector; the message is the reason."""


class Decoded(NamedTuple):
    """What a worker returns of one file: a tensor [3, H, W], or a reason."""

    place: int
    image: Any
    reason: str
    digest: bytes


class ImageFiles:
    """A torch data set (map style) of image files that never raises.

    Parameters
    ----------
    files
        In the order of the table.
    preprocess
        RGB image -> tensor [3, H, W].
    rules
        What is masked.
    """

    def __init__(
        self, files: list[Path], preprocess: Callable[[Any], Any], rules: DecodeRules
    ) -> None:
        self.files = files
        self.preprocess = preprocess
        self.rules = rules

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Decoded:
        """Decode one file."""
        digest = b""
        try:
            data = read_bytes(self.files[place])
            digest = hashlib.sha256(data).digest()
            image = self.preprocess(decode(data, self.rules))
            return Decoded(place, image, "", digest)
        except Masked as reason:
            return Decoded(place, None, str(reason), digest)
        except Exception as error:  # PIL raises a dozen kinds on hostile bytes; none may end a run
            return Decoded(place, None, f"broken: {type(error).__name__}: {error}"[:300], digest)


def read_bytes(file: Path) -> bytes:
    """Read a file of at most `MAX_BYTES`."""
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise Masked(f"too large: {size} bytes")
    if size == 0:
        raise Masked("broken: empty file")
    return file.read_bytes()


def decode(data: bytes, rules: DecodeRules) -> Any:
    """Return an RGB image, or raise `Masked` (or whatever PIL raises)."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of odd tags
        image = _open(data)
        _check(image, rules)
        if image.format == "JPEG" and min(image.size) >= 4 * rules.side:
            # The JPEG decoder scales down by itself: less memory and time, still twice the side.
            image.draft("RGB", (2 * rules.side, 2 * rules.side))
        image.load()
        return to_rgb(image)


def _open(data: bytes) -> Any:
    """Read the header with PIL's own pixel limit lifted: the rules decide, before any decoding."""
    import io

    from PIL import Image, UnidentifiedImageError

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise Masked(f"broken: not one of {', '.join(FORMATS)}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check(image: Any, rules: DecodeRules) -> None:
    """Judge by the header alone."""
    width, height = image.size
    if width * height > rules.max_pixels:
        raise Masked(f"decompression bomb: {width}x{height} pixels")
    if min(width, height) < rules.min_side:
        raise Masked(f"too small: {width}x{height} pixels")
    kinds = {
        "animated": image.format != "MPO" and getattr(image, "is_animated", False),
        "cmyk": image.mode in ("CMYK", "YCCK"),
        "greyscale": image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;"),
    }
    for kind, found in kinds.items():
        if found and kind not in rules.accept:
            raise Masked(f"{kind}: {image.format}, mode {image.mode}")


def to_rgb(image: Any) -> Any:
    """Convert to RGB; what is transparent becomes white, as on a page."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit greyscale; a plain conversion would clip it
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        page = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(page, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def collate(batch: list[Decoded]) -> tuple[Any, list[int], list[Decoded]]:
    """Stack the images that there are: tensor [B, 3, H, W] or None, their places, all results."""
    import torch

    good = [result for result in batch if result.image is not None]
    images = torch.stack([result.image for result in good]) if good else None
    return images, [result.place for result in good], [r._replace(image=None) for r in batch]
