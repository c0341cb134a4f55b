"""One run of a benchmark in a process of its own; started by benchmark.py, not by hand.

python -m ur4rec_recbole.benchmark_run JOB.json RUN_FOLDER THREADS
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from ur4rec_recbole import quick_start


def run(job: dict[str, Any], folder: Path) -> None:
    """Pretrain where the job says so, then train and evaluate into the folder."""
    settings = dict(job["settings"]) | {"checkpoint_dir": str(folder / "checkpoints")}
    if job["pretrain"]:
        first = folder.with_name(f"{folder.name}.pretrain")
        earlier = job["pretrain"] | {
            "run_folder": str(first), "checkpoint_dir": str(first / "checkpoints"),
        }  # fmt: skip
        result = _train(job, settings | earlier)
        settings["pre_model_path"] = result["model_file"]
    _train(job, settings | {"run_folder": str(folder)})


def _train(job: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    files = job["config_files"] or None
    return quick_start.run(job["model"], job["dataset"], files, settings)


def _end_with_parent() -> None:
    """Exit when the parent's end of our standard input closes, however it came to that."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Run the job that the command line names."""
    job, folder, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sys.argv = sys.argv[:1]  # RecBole reads configuration from the command line
    torch.set_num_threads(threads)
    _end_with_parent()
    run(json.loads(job.read_text(encoding="utf-8")), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
