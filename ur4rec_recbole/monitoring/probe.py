"""Measurements on validation rows at the end of a stage: what experts, modalities and scores do.

Nothing here draws from a global random stream, so that a resumed run stays bit-identical.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ur4rec_recbole.data.items import Item, read_items
from ur4rec_recbole.evaluation import ranking
from ur4rec_recbole.evaluation.candidates import candidates_of
from ur4rec_recbole.model.stages import SCORES

TOP = 10
SEED = 2020  # seed of the sampled candidates, as in the final table


class RouteRecorder:
    """While open, records the routes (modal, sub) of every row that the model scores."""

    def __init__(self, model: Any) -> None:
        self.experts = model.experts
        self.modal: list[Tensor] = []
        self.sub: list[Tensor] = []

    def __enter__(self) -> "RouteRecorder":
        self.handle = self.experts.register_forward_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self.modal.append(output[1].modal.detach().float().cpu())
        self.sub.append(output[1].sub.detach().float().cpu())

    def weights(self) -> dict[str, Tensor]:
        """Return weights by router, `modal` [R, M] and the modality's name [R, E]; or nothing."""
        if not self.modal or not self.modal[0].shape[1]:  # never asked, or no experts
            return {}
        sub = torch.cat(self.sub)  # [R, M, E]
        names = list(self.experts.modalities)
        return {"modal": torch.cat(self.modal)} | {n: sub[:, m] for m, n in enumerate(names)}


def mean_routes(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Average the weights of `RouteRecorder.weights` over the rows where a modality is present."""
    modal = weights["modal"]
    names = [name for name in weights if name != "modal"]
    shares, sub = {}, {}
    for m, name in enumerate(names):
        present = weights[name].sum(-1) > 0
        heard = present & (modal[:, m] > 0) if present.any() else present
        shares[name] = float(modal[present, m].mean()) if present.any() else 0.0
        if heard.any():
            sub[name] = weights[name][heard].mean(0).tolist()
    return {"modal": shares, "sub": sub}


@torch.no_grad()
def full_ranks(model: Any, part: Any, config: Any) -> np.ndarray:
    """Return the rank of each row's target among all items, [R]."""
    model.eval()
    placed = []
    size = config["eval_batch_size"]
    for _, interaction, scores in ranking.scored(model, part, size, config["device"]):
        placed.append(ranking.rank(scores.cpu(), interaction[part.iid_field]))
    return np.concatenate(placed)


def hit(ranks: np.ndarray) -> float:
    """Return HR@10."""
    return float((ranks <= TOP).mean())


def sampled_hit10(model: Any, part: Any, config: Any) -> float | None:
    """Return HR@10 against 99 unseen items (protocol uniform_99); None in too small a data set."""
    if not candidates_of(part, SEED):
        return None
    found = ranking.rank_targets(model, part, config["device"], config["eval_batch_size"], SEED)
    return hit(found["uniform_99"].ranks)


def popularity_hit10(part: Any) -> float | None:
    """Return the `sampled_hit10` of ranking by training popularity."""
    drawn = candidates_of(part, SEED)
    if not drawn:
        return None
    counts, targets = part.training_counts, part.inter_feat[part.iid_field].numpy()
    ahead = counts[drawn["uniform_99"]] >= counts[targets][:, None]  # [R, 99]
    return hit(1 + ahead.sum(1))


def hits_by_score(model: Any, part: Any, config: Any, ranks: np.ndarray) -> dict[str, float]:
    """Return HR@10 of each score by itself; `ranks` are those of the score in use."""
    before, found = int(model.score), {}
    try:
        for index, name in enumerate(SCORES):
            model.score.fill_(index)
            found[name] = hit(ranks if index == before else full_ranks(model, part, config))
    finally:
        model.score.fill_(before)
    return found


@contextmanager
def shuffled(model: Any, modality: str) -> Iterator[None]:
    """Give every item (or profile snapshot) another one's vector of a modality for a while."""
    features = model.features
    vectors = features.profile_vectors if modality == "profile" else features.vectors(modality)
    present = torch.zeros(len(vectors), dtype=torch.bool, device=vectors.device)
    present[1:] = True if modality == "profile" else features.present(modality)[1:]
    rows = present.nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(0)
    other = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
    original = vectors.clone()
    vectors[rows] = original[other]
    try:
        yield
    finally:
        vectors.copy_(original)


def modality_use(
    model: Any, part: Any, config: Any, ranks: np.ndarray
) -> dict[str, dict[str, float]]:
    """Measure what shuffling each modality's table does to the ranks [R] without that.

    Returns
    -------
    use
        By modality with a table: `hit` and `hit_shuffled` (HR@10), and `movement`, the mean of
        |log(rank with the table shuffled / rank)|.
    """
    names = [*model.features.item_modalities]
    if len(model.features.profile_keys):
        names.append("profile")
    use = {}
    for name in names:
        with shuffled(model, name):
            other = full_ranks(model, part, config)
        movement = float(np.abs(np.log(other / ranks)).mean())
        use[name] = {"hit": hit(ranks), "hit_shuffled": hit(other), "movement": movement}
    return use


def routes_by_group(weights: dict[str, Tensor], part: Any) -> dict[str, Any]:
    """Average the routes of a data split's rows over the genres of their targets."""
    if not weights:
        return {}
    items = read_items(part)
    targets = part.id2token(part.iid_field, part.inter_feat[part.iid_field].numpy())
    rows: dict[str, list[int]] = {}
    for row, token in enumerate(np.atleast_1d(targets)):
        for genre in items.get(str(token), Item()).genres:
            rows.setdefault(genre, []).append(row)
    return {
        genre: {"rows": len(chosen)} | mean_routes({k: v[chosen] for k, v in weights.items()})
        for genre, chosen in sorted(rows.items())
    }


def idle_experts(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Return the sub-experts, as modality/index, of which no weight differs in any bit."""
    moved: dict[str, bool] = {}
    for key, value in after.items():
        parts = key.split(".")
        if parts[:2] == ["experts", "modalities"] and parts[3] == "experts":
            name = f"{parts[2]}/{parts[4]}"
            moved[name] = moved.get(name, False) or not torch.equal(value, before[key])
    return [name for name, any_moved in moved.items() if not any_moved]


@contextmanager
def optional(what: str, left_out: dict[str, str]) -> Iterator[None]:
    """Let an optional measurement fail: note the reason in `left_out` and go on."""
    try:
        yield
    except Exception as error:  # whatever it is: hours of training must not be lost by it
        left_out[what] = f"{type(error).__name__}: {error}"


def measure(
    model: Any, part: Any, config: Any, before: dict[str, Tensor], trains_experts: bool
) -> dict[str, Any]:
    """Take all measurements of a stage's best weights; few where its score is the sequence's.

    Parameters
    ----------
    model, part, config
        The model, validation rows and configuration.
    before
        The weights that the stage began with.
    trains_experts
        Whether the stage trained them.

    Returns
    -------
    measured
        What could be measured; `left_out` says of the rest why.
    """
    found: dict[str, Any] = {"rows": len(part)}
    left_out: dict[str, str] = {}
    if SCORES[int(model.score)] == "sequence":
        return found
    with RouteRecorder(model) as recorder:
        ranks = full_ranks(model, part, config)
    weights = recorder.weights()
    if weights:
        found["routes"] = mean_routes(weights)
        with optional("routes by genre", left_out):
            found["groups"] = routes_by_group(weights, part)
    with optional("HR@10 by score", left_out):
        found["scores"] = hits_by_score(model, part, config, ranks)
    with optional("use of modalities", left_out):
        found["modalities"] = modality_use(model, part, config, ranks)
    if trains_experts:
        found["idle_experts"] = idle_experts(before, model.state_dict())
    return found | ({"left_out": left_out} if left_out else {})
