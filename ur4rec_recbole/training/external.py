"""ExternalTrainer: lets an adapter train a model of another library, and takes its scores.

split -> export -> adapter's process, in its own environment -> scores of validation and test rows.
The adapter says after each epoch how it validates, which makes its curve; its seconds and memory
are the run's.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from recbole.trainer import Trainer

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.yaml_files import find_file
from ur4rec_recbole.data.dataset import HISTORY_END, UR4RecDataset
from ur4rec_recbole.data.exchange import export
from ur4rec_recbole.data.modalities import table_path
from ur4rec_recbole.training.environments import python_with

ERRORS = "errors.txt"
QUALITY = "ndcg@10"


class ExternalTrainer(Trainer):
    """One process in place of epochs; all else is RecBole's."""

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train and score. Arguments and return value are those of RecBole's `Trainer.fit`."""
        parts = UR4RecDataset(self.config).build()
        best = -np.inf
        with tempfile.TemporaryDirectory(prefix="ur4rec-") as place:
            folder = Path(place)
            for epoch, row in enumerate(self.told(folder, parts)):
                best = max(best, row[QUALITY])
                getLogger().info(f"{self.config['adapter']}: {row}")
                if callback_fn:
                    callback_fn(epoch, row[QUALITY])
            for name, part in zip(("valid", "test"), parts[1:], strict=True):
                scores = np.load(folder / f"{name}.npy", allow_pickle=False)
                ends = part.inter_feat[HISTORY_END].numpy()
                self._check_scores(scores, (len(ends), part.item_num))
                self.model.know(ends, scores.astype(np.float32, copy=False))
        self.best_valid_score, self.best_valid_result = best, {QUALITY: best}
        return best, self.best_valid_result

    def told(self, folder: Path, parts: Sequence[UR4RecDataset]) -> Iterator[Mapping[str, Any]]:
        """Let the adapter train on the split, and yield what it says of each epoch.

        Parameters
        ----------
        folder
            Where the split is written, and the scores after the last epoch.
        parts
            Training, validation, test.
        """
        adapter = find_file(self.config["adapter"] or "").absolute()
        if not adapter.is_file():
            raise InputError(
                "adapter", "must be a Python file", repr(self.config["adapter"]), "Check the path."
            )
        python = python_with(self.config["adapter_requirements"]).absolute()
        table = table_path(self.config, "item_text_table")
        train, valid, test = parts
        export(folder / "split.npz", train, valid, test, table)
        options = self.config["adapter_options"] | {"seed": self.config["seed"]}
        (folder / "options.json").write_text(json.dumps(options))
        yield from _epochs([str(python), str(adapter)], folder)

    def _check_scores(self, scores: np.ndarray, shape: tuple[int, int]) -> None:
        if scores.shape != shape or not np.issubdtype(scores.dtype, np.floating):
            raise InputError(
                f"adapter {self.config['adapter']}", f"must write float scores of shape {shape}",
                f"{scores.dtype} of shape {scores.shape}", "See examples/rectools_adapter.py.",
            )  # fmt: skip


def _epochs(words: list[str], folder: Path) -> Iterator[Mapping[str, Any]]:
    """Run an adapter and yield what it says of each epoch."""
    with (
        (folder / ERRORS).open("w+", errors="replace") as errors,
        subprocess.Popen(
            [*words, str(folder)], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                row = _read(line)
                if row:
                    yield row
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        errors.seek(0)
        if code:
            raise RuntimeError(f"{words[-1]} ended with exit code {code}:\n{errors.read()[-3000:]}")


def _read(line: str) -> Mapping[str, Any] | None:
    """Return the row that a line tells; None for whatever else a library prints."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get(QUALITY), int | float) else None
