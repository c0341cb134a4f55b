"""ToRunFolder: the observer that keeps a training in its run folder."""

import time
from collections.abc import Sequence
from typing import Any

from ur4rec_recbole.monitoring.findings import Finding
from ur4rec_recbole.monitoring.observers import Observer
from ur4rec_recbole.runs.folder import RunFolder


class ToRunFolder(Observer):
    """Writes everything into a run folder.

    Parameters
    ----------
    folder
        The run's.
    stages, epoch, findings
        Of a resumed run: the number of ended stages and of epochs, and the earlier findings;
        everything else in the folder is made again.
    """

    def __init__(
        self,
        folder: RunFolder,
        stages: int = 0,
        epoch: int = 0,
        findings: Sequence[Finding] = (),
    ) -> None:
        self.folder = folder
        self.routing = folder.read("routing.json") or {"epochs": [], "groups": {}}
        folder.rewind(epoch, findings)
        self.stages: list[dict[str, Any]] = (folder.read("stages.json") or [])[:stages]
        kept = [row for row in self.routing["epochs"] if row["epoch"] <= epoch]
        self.routing["epochs"] = kept
        self._began = time.perf_counter() - folder.elapsed()

    def epoch_ends(self, row: dict[str, Any]) -> None:
        """Add a line to epochs.csv, with the wall-clock time since the training began."""
        self.folder.add_epoch({**row, "elapsed": time.perf_counter() - self._began})

    def routed(self, row: dict[str, Any], weights: dict[str, Any]) -> None:
        """Add an epoch to routing.json."""
        self.routing["epochs"].append(row)
        self.folder.write_routing(self.routing)

    def found(self, finding: Finding) -> None:
        """Add a line to findings.jsonl."""
        self.folder.add_finding(finding)

    def stage_ends(self, summary: dict[str, Any]) -> None:
        """Add a stage to stages.json, and its routes by group to routing.json."""
        groups = summary.pop("groups", None)
        self.stages.append(summary)
        self.folder.write_stages(self.stages)
        if groups:
            self.routing["groups"] = groups
            self.folder.write_routing(self.routing)
