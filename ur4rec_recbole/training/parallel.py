"""ParallelTrainer: RecBole's Trainer, exact where several processes train together.

Each process takes its share of every batch (shares.py). Losses are means over the positions of the
whole batch: a process weighs its own mean by its number of positions, and `DistributedDataParallel`
sums. So several processes take the steps that one would take with their batches in one, and what
they validate is gathered row by row.

Base of WatchedTrainer. RecBole's own models train and validate as RecBole has it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.evaluator import Collector
from recbole.trainer import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ur4rec_recbole.core import collective
from ur4rec_recbole.training.shares import Shares, share


class ParallelTrainer(Trainer):
    """Trains alone or with others, whatever RecBole's Config says.

    Attributes
    ----------
    together
        Whether other processes train with this one.
    distributed_model
        torch's view of the model, of the parameters that the running stage trains.
    """

    distributed_model: Any

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        if self.enable_amp:  # float16 would need the scaler
            kind = torch.float16 if self.enable_scaler else torch.bfloat16
            torch.set_autocast_dtype("cuda", kind)
        self.together = not config["single_spec"]
        if self.together:
            self.eval_collector = GatheringCollector(config)
        self._shares: Shares | None = None
        self._steps_left = 0  # of the epoch

    def parallelise(self) -> None:
        """Watch the parameters that are trainable now; to be called when they have changed.

        A step may leave parameters without a gradient, such as those of an expert that no position
        chose: torch then leaves them alone, as one process does.
        """
        if not self.together:
            return
        self.distributed_model = None
        gc.collect()  # the last one's hooks are gone before the next one's come
        card = [self.device] if self.device.type == "cuda" else None
        self.distributed_model = DistributedDataParallel(
            _Losses(self.model), device_ids=card, find_unused_parameters=True,
            init_sync=False,  # weights are the same since RecBole's constructor
        )  # fmt: skip
        self.distributed_model.broadcast_buffers = False  # such as feature tables: none changes

    def named_losses(self, interaction: Any) -> dict[str, Tensor]:
        """Return the losses by name, of the batch of all processes.

        Their gradients are this process's part of it.
        """
        if not self.together:
            return self.model.named_losses(interaction)
        assert self._shares is not None
        self._steps_left -= 1
        own = self.model.count_targets(interaction).float()
        if self._shares.stands_in and not self._steps_left:
            own = own * 0
        part = own / collective.summed(own)
        self.model.share = part
        losses = self.distributed_model(interaction)
        self.model.share = None
        weighted = torch.stack([each.float() for each in losses.values()]) * part
        totals = collective.summed(weighted)
        # torch takes the mean over processes, and this is a sum.
        parts = collective.with_value(weighted * collective.count(), totals)
        return dict(zip(losses, parts.unbind(), strict=True))

    def _train_epoch(self, train_data: Any, *arguments: Any, **options: Any) -> Any:
        if self.together:
            self._shares = share(train_data, trains=True)
            self._steps_left = len(train_data)
        return super()._train_epoch(train_data, *arguments, **options)

    def evaluate(self, eval_data: Any, *arguments: Any, **options: Any) -> Any:
        """Evaluate as RecBole does, each process its share of the rows."""
        if self.together and eval_data:
            share(eval_data, trains=False)
        return super().evaluate(eval_data, *arguments, **options)

    @contextmanager
    def as_one_process(self) -> Iterator[None]:
        """Let the configuration be one of a single process, as whoever loads a checkpoint is."""
        before = {key: self.config[key] for key in ("single_spec", "local_rank")}
        self.config["single_spec"], self.config["local_rank"] = True, 0
        try:
            yield
        finally:
            self.config.final_config_dict.update(before)

    def set_reduce_hook(self) -> None:
        """Do nothing: the losses come from `distributed_model`."""

    def sync_grad_loss(self) -> int:
        """Return 0: RecBole's would give all parameters a gradient."""
        return 0

    def _map_reduce(self, result: Any, num_sample: int) -> Any:
        """Return the result as it is, of all rows; RecBole averages those of the processes."""
        return result


class _Losses(nn.Module):
    """A model whose forward is its losses, which is what torch watches."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, interaction: Any) -> dict[str, Tensor]:
        return self.model.named_losses(interaction)


class GatheringCollector(Collector):
    """RecBole's collector of what metrics need, of the rows of all processes."""

    def get_data_struct(self) -> Any:
        """Return what has been collected, the same in every process."""
        held = self.data_struct._data_dict
        rows = {key: each for key, each in held.items() if key[:4] == "rec." or key == "data.label"}
        held.update(collective.all_rows(rows))
        return super().get_data_struct()
