"""UR4RecEnsemble: z-scored score fusion of trained RecBole models, itself one RecBole model.

s_ui = sum_m w_m z_m(s_m,ui), where z_m brings the scores of member m for a row to mean 0 and
deviation 1 over the candidates. The weights are chosen on validation data alone, as those that make
its targets likeliest, members of one class weighing the same (stacking, Wolpert 1992; see
training/ensemble.py).
"""

from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.utils import get_model
from torch import Tensor, nn

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import EARLIER
from ur4rec_recbole.model import saved
from ur4rec_recbole.model.full_sort import FullSortRecommender
from ur4rec_recbole.model.lists import with_lists

# What decides which interactions there are, whose they are, and which of them are targets.
SAME = (
    "dataset", "eval_args", "benchmark_filename", "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD",
    "alias_of_user_id", "alias_of_item_id", "rm_dup_inter", "val_interval",
    "filter_inter_by_user_or_item", "user_inter_num_interval", "item_inter_num_interval",
)  # fmt: skip


class UR4RecEnsemble(FullSortRecommender):
    """Weighted sum of the standardised scores of its members.

    Parameters
    ----------
    config
        `members`: folders of trained models or checkpoint files of RecBole, on the same data and
        split (recipes among them become folders by `members.prepare`, as `ur4rec train` does). A
        checkpoint file is unpickled, so name only files that you trust. `member_configs`, where
        present, is what an earlier construction found in them; they are then not read, so that a
        saved ensemble loads without its members.
    dataset
        The training part of a `UR4RecDataset`.
    """

    weights: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.config = config
        loaded = [] if config["member_configs"] else _load(config["members"])
        if loaded:
            config["member_configs"] = [each.config for each in loaded]
        configs = config["member_configs"]
        if not configs:
            raise InputError(
                "members", "must name at least one trained model", config["members"],
                "List the folders or checkpoint files of trained models.",
            )  # fmt: skip
        for member in configs:
            check_same_data(config, member)
        self.members = nn.ModuleList(get_model(c["model"])(c, dataset) for c in configs)
        for network, each in zip(self.members, loaded, strict=False):
            each.load_into(network)
        self.register_buffer("weights", torch.full((len(configs),), 1 / len(configs)))

    def other_parameter(self) -> list[Any]:
        """Return what each member keeps outside its state_dict, as EASE does its matrix."""
        members: list[Any] = list(self.members)
        return [member.other_parameter() for member in members]

    def load_other_parameter(self, para: list[Any] | None) -> None:
        """Give each member back what `other_parameter` returned."""
        members: list[Any] = list(self.members)
        for member, kept in zip(members, para or [], strict=False):
            member.load_other_parameter(kept)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Refuse: members are trained beforehand, and the trainer only chooses weights."""
        raise NotImplementedError("An ensemble is not trained by gradients.")

    def member_scores(self, interaction: Interaction) -> Tensor:
        """Return the standardised scores of each member, [M, B, N]; -inf stays -inf."""
        found = []
        member: Any  # a RecBole model
        for member, config in zip(self.members, self.config["member_configs"], strict=True):
            seen = clip(interaction, config)
            scores = member.full_sort_predict(seen).view(len(interaction), -1)
            found.append(standardise(scores))
        return torch.stack(found)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items for each row, [B, N]."""
        return combine(self.member_scores(interaction), self.weights)


def clip(interaction: Interaction, config: Any) -> Interaction:
    """Return a batch whose lists hold the newest items alone, as many as a member was made for.

    A member that excludes what the user has had is told of the others as earlier ones.
    """
    wanted, length_field = config["MAX_ITEM_LIST_LENGTH"], config["ITEM_LIST_LENGTH_FIELD"]
    suffix, length = config["LIST_SUFFIX"], interaction[length_field]
    first = (length - wanted).clamp(min=0).unsqueeze(1)
    place = first + torch.arange(wanted, device=length.device)  # [B, wanted]
    row = torch.arange(len(length), device=length.device).unsqueeze(1)
    fields = with_lists(interaction, suffix, lambda values: values[row, place])
    seq = interaction[config["ITEM_ID_FIELD"] + suffix]
    left_out = seq.masked_fill(torch.arange(seq.shape[1], device=seq.device) >= first, 0)
    earlier = [fields[EARLIER]] if EARLIER in fields else []
    fields[EARLIER] = torch.cat([*earlier, left_out], dim=1)
    return Interaction(fields | {length_field: length.clamp(max=wanted)})


def standardise(scores: Tensor) -> Tensor:
    """Bring scores [B, N] to mean 0 and deviation 1 over a row's finite ones, padding left out."""
    scores = scores.float()
    used = torch.isfinite(scores)
    used[:, 0] = False
    count = used.sum(1, keepdim=True).clamp(min=1)
    centred = scores - torch.where(used, scores, 0.0).sum(1, keepdim=True) / count
    variance = torch.where(used, centred, 0.0).square().sum(1, keepdim=True) / count
    return centred / (variance.sqrt() + 1e-6)


def combine(scores: Tensor, weights: Tensor) -> Tensor:
    """Sum scores [M, B, N] by weights [M]; an item that any weighted member excludes stays out."""
    used = weights > 0  # 0 times -inf would be NaN
    return torch.einsum("m,mbn->bn", weights[used], scores[used])


def _load(names: Any) -> list[saved.Saved]:
    return [_read(name) for name in names or []]


def _read(name: Any) -> saved.Saved:
    """Read a member from its folder, without unpickling, or from a checkpoint named by the user."""
    path = Path(name) if isinstance(name, str) else None
    if path and saved.exists(path):
        return saved.read(path)
    if path and path.is_file():
        return saved.read_checkpoint(path)
    raise InputError(
        "members", "must be folders of trained models or checkpoint files", repr(name),
        "Check the path; a recipe is trained by `ur4rec train`.",
    )  # fmt: skip


def check_same_data(config: Any, member: Config) -> None:
    """Raise `InputError` for a member whose data, or split, are not those of the ensemble."""
    if member["MAX_ITEM_LIST_LENGTH"] > config["MAX_ITEM_LIST_LENGTH"]:
        raise InputError(
            "MAX_ITEM_LIST_LENGTH",
            f"must be at least that of each member, {member['MAX_ITEM_LIST_LENGTH']}",
            config["MAX_ITEM_LIST_LENGTH"],
            "Raise it for the ensemble.",
        )
    for key in SAME:
        if member[key] != config[key]:
            raise InputError(
                f"members: {key} of {member['model']}",
                f"must be that of the ensemble, {config[key]}",
                member[key],
                "Train the member on the same data and split.",
            )
