"""The page of `ur4rec inspect --html`: findings, and nearest neighbours with thumbnails.

One file without scripts; thumbnails are small JPEGs inside it, so that it can be sent around.
"""

import base64
import html
import io
from collections.abc import Sequence

STYLE = """body{font:14px sans-serif;margin:2em;max-width:72em}pre{white-space:pre-wrap}
table{border-collapse:collapse}td{vertical-align:top;padding:6px;width:9em;font-size:12px}
td:first-child{font-weight:bold;background:#eef}img{display:block;max-width:96px}"""


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
    body = "".join(
        "<tr>"
        + "".join(f"<td>{_cell(token, title, images)}</td>" for token, title in row)
        + "</tr>"
        for row in rows
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>ur4rec inspect</title>"
        f"<style>{STYLE}</style><h1>Feature table</h1><pre>{html.escape(chr(10).join(findings))}"
        "</pre><h2>Nearest neighbours</h2><p>The first column is the item itself.</p>"
        f"<table>{body}</table></html>"
    )


def _cell(token: str, title: str, images: str | None) -> str:
    picture = _thumbnail(token, images) if images else ""
    return f"{picture}{html.escape(title)}"


def _thumbnail(token: str, folder: str) -> str:
    """Return an img element, or nothing where there is no picture that can be read."""
    from pathlib import Path

    from ur4rec_recbole.extract.decoding import SUFFIXES, UNUSUAL, DecodeRules, decode, read_bytes

    for suffix in SUFFIXES:
        # The token comes from a file: it must not lead out of the folder.
        file = Path(folder) / f"{Path(token).name}{suffix}"
        if not file.is_file():
            continue
        try:
            image = decode(read_bytes(file), DecodeRules(side=96, accept=UNUSUAL))
        except Exception:  # a broken picture must not cost the page; extract image reports it
            return ""
        image.thumbnail((96, 144))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        data = base64.b64encode(buffer.getvalue()).decode()
        return f"<img alt='' src='data:image/jpeg;base64,{data}'>"
    return ""
