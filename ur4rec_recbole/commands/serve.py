"""`ur4rec serve`: answer requests for recommendations over HTTP.

ur4rec serve runs/shop
UR4REC_API_KEY=... ur4rec serve models/shop --host 0.0.0.0 --port 8000
"""

import argparse
import importlib
import ipaddress
import os
from pathlib import Path

import torch

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.extract.image import find_images
from ur4rec_recbole.serving.holder import Holder

KEY = "UR4REC_API_KEY"
CONNECTIONS = 16  # open ones for each request at a time: most wait for their next


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", help="a run's folder, or one that `ur4rec export` wrote")
    parser.add_argument("--host", default="127.0.0.1", help="address [127.0.0.1]")
    parser.add_argument("--port", type=int, default=8000, help="port [8000]; 0 for a free one")
    parser.add_argument(
        "--api-key-file", help=f"holds what requests must have as X-API-Key; or set {KEY}"
    )
    parser.add_argument(
        "--images", metavar="FOLDER", help="of ITEM_ID.jpg, .jpeg, .png, .webp, for the page"
    )
    parser.add_argument(
        "--reload-seconds", type=float, default=10,
        help="how often to look for a new model in the folder; 0 for never [10]",
    )  # fmt: skip
    parser.add_argument(
        "--concurrency", type=int, default=64,
        help="requests answered at a time; others get 503, /health and /metrics never [64]",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Load the model and serve it until interrupted."""
    key = _key(options.api_key_file)
    if not _is_loopback(options.host) and not key:
        raise InputError(
            f"--host {options.host}", "can be reached from outside and needs an API key", "none",
            f"Set {KEY} or --api-key-file, or leave --host out.",
        )  # fmt: skip
    if options.concurrency < 1:
        raise InputError("--concurrency", "must be at least 1", options.concurrency, "Raise it.")
    if not 0 <= options.port <= 65535:
        raise InputError("--port", "must be from 0 to 65535", options.port, "Name another one.")
    if not options.reload_seconds >= 0:
        raise InputError(
            "--reload-seconds", "must be at least 0", options.reload_seconds, "Write 0 for never."
        )
    try:
        uvicorn = importlib.import_module("uvicorn")
        service = importlib.import_module("ur4rec_recbole.serving.service")
    except ImportError as error:
        raise InputError(
            "ur4rec serve", "needs fastapi, uvicorn and prometheus-client", error,
            "Run `pip install ur4rec_recbole[serve]`.",
        ) from error  # fmt: skip
    torch.set_num_threads(1)  # requests run side by side; one is too small to be shared out
    holder = Holder(options.model)
    if options.reload_seconds > 0:
        holder.watch(options.reload_seconds)
    images = find_images(options.images)[0] if options.images else []
    shown = {file.stem: file for file in images}
    app = service.create_app(holder, key, shown, options.concurrency)
    print(f"{options.model} at http://{options.host}:{options.port} (interface: /docs)", flush=True)
    uvicorn.run(
        app, host=options.host, port=options.port,
        limit_concurrency=CONNECTIONS * options.concurrency, timeout_graceful_shutdown=10,
    )  # fmt: skip
    holder.end()
    return 0


def _key(file: str | None) -> str | None:
    if file is None:
        return _sendable(os.environ.get(KEY, ""), KEY) or None
    try:
        key = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InputError("--api-key-file", "must be a readable text", error, "Check it.") from error
    if not key:
        raise InputError("--api-key-file", "must hold a key", "nothing", "Write one into it.")
    return _sendable(key, "--api-key-file")


def _sendable(key: str, what: str) -> str:
    """Return a key if a header can hold it."""
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(
            what, "must be of printable ASCII characters without spaces", "others among them",
            "Choose another key.",
        )  # fmt: skip
    return key


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
