"""Trains UniSRec of RecTools on the items' text vectors; see rectools_adapter.py."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rectools.fast_transformers import UniSRecModel
from rectools_adapter import BestSoFar, Rows, best_lists, main


def fit_unisrec(split: Any, options: dict[str, Any], stop: BestSoFar, valid: Rows) -> Callable:
    """Train UniSRec on the text vectors; return what scores rows first to last."""

    @torch.no_grad()
    def score(rows: Rows, first: int, last: int) -> np.ndarray:
        network, length = model.net, model.session_max_len
        device = next(network.parameters()).device
        seqs = torch.zeros(last - first, length, dtype=torch.long)
        for place, row in enumerate(range(first, last)):
            known = model.map_item_ids(torch.from_numpy(rows.history(row)).long())
            known = known[known > 0][-length:]
            seqs[place, length - len(known) :] = known
        network.eval()
        states, items = network.encode_last(seqs.to(device)), network.project_all()
        scores = np.full((last - first, rows.n_items), -np.inf, dtype=np.float32)
        scores[:, model.item_id_mapping.numpy()] = (states @ items[1:].T).cpu().numpy()
        return scores

    class Validation(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            self.began = time.perf_counter()

        def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            seconds = time.perf_counter() - self.began
            model._net = module.net  # which `fit` would set at its end
            lists = best_lists(score, valid)
            trainer.should_stop = stop.ends_after(lists, module.net, seconds)
            module.net.train()

    class Model(UniSRecModel):
        def _make_trainer(self, max_epochs: int, val_dl: Any = None) -> pl.Trainer:
            trainer = super()._make_trainer(max_epochs, val_dl)
            trainer.callbacks.append(Validation())
            return trainer

    model = Model(torch.from_numpy(split["text"]), epochs=stop.epochs, **options)
    model.fit(*(torch.from_numpy(split[name]).long() for name in ("users", "items", "times")))
    model.net.load_state_dict(stop.weights)
    return score


if __name__ == "__main__":
    main(Path(sys.argv[1]), fit_unisrec)
