"""The page of `ur4rec inspect --html`: findings, and nearest neighbours with thumbnails.

Thumbnails are small JPEGs inside the page, so that it can be sent around.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from ur4rec_recbole.extract.decoding import SUFFIXES, UNUSUAL, DecodeRules, decode, read_bytes
from ur4rec_recbole.reports.pages import render


def neighbour_page(
    findings: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], images: str | None
) -> str:
    """Return the page.

    Parameters
    ----------
    findings
        Lines of the report.
    rows
        Each an item and its neighbours, nearest first, as (token, title).
    images
        Folder of ITEM_ID.jpg and so on; None leaves thumbnails out.
    """
    cells = [
        [(title, _thumbnail(token, Path(images)) if images else "") for token, title in row]
        for row in rows
    ]
    return render("neighbours", title="Feature table", findings=findings, rows=cells)


def _thumbnail(token: str, folder: Path) -> str:
    """Return a small JPEG in base64, or nothing where there is no picture that can be read."""
    for suffix in SUFFIXES:
        # The token comes from a file: it must not lead out of the folder.
        file = folder / f"{Path(token).name}{suffix}"
        if not file.is_file():
            continue
        try:
            image = decode(read_bytes(file), DecodeRules(side=96, accept=UNUSUAL))
        except Exception:  # a broken picture must not cost the page; extract image reports it
            return ""
        image.thumbnail((96, 144))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        return base64.b64encode(buffer.getvalue()).decode()
    return ""
