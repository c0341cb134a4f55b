"""`ur4rec export`: write a model for other programs, or as a folder to serve.

ur4rec export runs/shop --to safetensors --output models/shop
ur4rec export runs/shop --to onnx --output models/shop-onnx
"""

import argparse
from pathlib import Path

from ur4rec_recbole.serving.export import KINDS, export
from ur4rec_recbole.serving.recommender import Recommender


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", help="a run's folder, or one that this command wrote")
    parser.add_argument("--to", choices=list(KINDS), default="safetensors", help="[safetensors]")
    parser.add_argument("--output", required=True, help="folder to write")


def run(options: argparse.Namespace) -> int:
    """Write and say what."""
    manifest = export(Recommender.load(options.model), options.to, Path(options.output))
    print(f"{options.output}: {', '.join(manifest['sha256'])}")
    for key in ("checked", "exact"):
        if key in manifest:
            print(manifest[key])
    if "kept" in manifest:
        print(f"{manifest['kept']:.2%} of the model's own top ten are found, of known users")
    if "hnsw" in manifest:
        print(
            "against exact search: {recall:.3f} of its ten best at {milliseconds:.2f} ms a query "
            "instead of {exact_milliseconds:.2f}".format(**manifest["hnsw"])
        )
    return 0
