"""What a run comes to: epochs of RecBole's own models, final metrics, ranks and cost.

quick_start.run -> EpochRecorder while RecBole trains -> conclude, which evaluates validation and
test under every protocol and writes them to the run folder.
"""

import resource
import sys
import time
from typing import Any

import numpy as np

from ur4rec_recbole import evaluation, subsets
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.run_folder import RunFolder

MASKED = "full_masked_ndcg@10"  # column of epochs.csv


class EpochRecorder:
    """RecBole's `callback_fn`: writes a line of epochs.csv for a model that writes none itself.

    RecBole validates with the history among the candidates, UR4Rec usually without; so that
    training curves can be compared, NDCG@10 under full_masked is measured too. The time that this
    takes is not counted.

    Parameters
    ----------
    run
        Gets the lines.
    trainer
        RecBole's trainer.
    part
        Validation rows.

    Attributes
    ----------
    own_seconds
        What its own measurements have taken so far.
    """

    def __init__(self, run: RunFolder, trainer: Any, part: UR4RecDataset) -> None:
        self.run, self.trainer, self.part = run, trainer, part
        self.own_seconds = 0.0
        self.resumed = time.perf_counter()

    def __call__(self, epoch: int, score: float) -> None:
        """Write the line of an epoch, from 0, that validated at `score`."""
        called = time.perf_counter()
        config = self.trainer.config
        found = evaluation.place(
            self.trainer.model, self.part, config["device"], config["eval_batch_size"]
        )
        masked = subsets.per_target(found.ranks["full_masked"], "ndcg@10").mean()
        row = {
            "epoch": epoch,
            "stage": "train",
            "stage_epoch": epoch + 1,
            "seconds": called - self.resumed,
            "train_loss": self.trainer.train_loss_dict.get(epoch),
            self.trainer.valid_metric: float(score),
            MASKED: float(masked),
            "peak_memory": peak_memory(),
        }
        self.run.add_epoch(row)
        self.resumed = time.perf_counter()
        self.own_seconds += self.resumed - called


def conclude(
    run: RunFolder, model: Any, parts: dict[str, UR4RecDataset], config: Any, seconds: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Evaluate the parts ("valid" and "test"), keep everything, return metrics by protocol.

    Parameters
    ----------
    seconds
        Wall-clock time of the training.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    kept: dict[str, Any] = {"seconds": seconds}
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        measured = evaluation.measure(model, part, config)
        found[name] = measured.metrics
        kept[name] = measured.metrics | measured.details
        arrays |= measured.arrays(name)
    kept["peak_memory"] = peak_memory()
    run.write_result(kept, arrays)
    return found


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
