"""Builds the model's components from the configuration: every size is read here."""

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.sampler import RepeatableSampler
from torch import Tensor

from ur4rec_recbole.core.config import is_finite
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import training_interactions
from ur4rec_recbole.data.moments import in_seconds_above_zero
from ur4rec_recbole.model.attention import BlockConfig
from ur4rec_recbole.model.cooccurrences import Cooccurrences
from ur4rec_recbole.model.encoder import SequenceEncoder
from ur4rec_recbole.model.experts import ExpertConfig, HierarchicalMoE, NoExperts, RouterConfig
from ur4rec_recbole.model.fusion import Fusion, GatedFusion, WeightedFusion
from ur4rec_recbole.model.items import ItemEmbedding, ItemTower
from ur4rec_recbole.model.neighbours import ContentNeighbours
from ur4rec_recbole.model.new_items import NewItems
from ur4rec_recbole.model.rare_items import RareItems
from ur4rec_recbole.model.trend import Trend

# In the order in which they apply.
CORRECTIONS = (Trend, ContentNeighbours, Cooccurrences, RareItems, NewItems)


def encoder(config: Any) -> SequenceEncoder:
    """Build the sequence encoder."""
    block = BlockConfig(
        n_heads=config["n_heads"],
        inner_size=config["inner_size"],
        hidden_dropout=config["hidden_dropout_prob"],
        attn_dropout=config["attn_dropout_prob"],
        **_shared(config),
    )
    times = {key: config[key] for key in ("time_intervals", "request_time")}
    return SequenceEncoder(config["n_layers"], config["MAX_ITEM_LIST_LENGTH"], block, **times)


def _shared(config: Any) -> dict[str, Any]:
    """Return what blocks of the encoder and of the experts have in common."""
    keys = ("hidden_size", "hidden_act", "layer_norm_eps", "norm_first")
    return {key: config[key] for key in keys}


def experts(config: Any, widths: dict[str, int]) -> HierarchicalMoE | NoExperts:
    """Build the mixture of experts; `n_sub_experts: 1` is the flat one, 0 none at all."""
    if config["n_sub_experts"] == 0:
        return NoExperts(config["hidden_size"], config["layer_norm_eps"])
    block = BlockConfig(
        n_heads=config["expert_heads"],
        inner_size=config["expert_inner_size"],
        hidden_dropout=config["expert_dropout_prob"],
        attn_dropout=config["expert_dropout_prob"],
        **_shared(config),
    )
    soft = {"temperature": config["router_temperature"], "noise": config["router_noise"]}
    sub_router = RouterConfig(top_k=config["router_top_k"], **soft)
    sizes = ExpertConfig(
        config["n_sub_experts"],
        config["expert_layers"],
        config["n_proxy_tokens"],
        block,
        sub_router,
    )
    return HierarchicalMoE(widths, sizes, RouterConfig(**soft))


def item_embedding(config: Any, warm: Tensor, widths: dict[str, int]) -> ItemEmbedding:
    """Build the embedding that the encoder reads and scores by."""
    use_id, use_content = config["use_item_id"], config["encoder_content"]
    if not use_id and not (use_content and widths):
        raise InputError(
            "use_item_id",
            "can be false only with encoder_content and an item table",
            f"encoder_content: {use_content}, tables: {list(widths) or 'none'}",
            "Name a table and set encoder_content: True, or set use_item_id: True.",
        )
    content = widths if use_content else {}
    ids = warm if use_id else None
    return ItemEmbedding(len(warm), config["hidden_size"], content, ids, config["item_id_dropout"])


def neighbours(config: Any, modalities: tuple[str, ...]) -> ContentNeighbours | None:
    """Build the neighbours by content, or return None where they are switched off."""
    if not config["n_neighbour_items"] or not modalities:
        return None
    made = ContentNeighbours(
        modalities, config["n_neighbour_items"], config["neighbour_temperature"]
    )
    shares = config["neighbour_shares"]
    if shares is not None:
        sound = all(is_finite(each) and each >= 0 for each in shares)
        if not sound or len(shares) != len(made.shares) or not shares[0]:
            raise InputError(
                "neighbour_shares", f"must be {len(made.shares)} numbers of at least 0, the first "
                "above it", shares, "Leave it out: validation rows choose them.",
            )  # fmt: skip
        made.shares.copy_(torch.tensor(shares))
    return made


def trend(config: Any, counts: Tensor) -> Trend | None:
    """Build the trend, or return None where no request times are read."""
    if not config["request_time"] or not config["trend_half_lives"]:
        return None
    choice = config["trend_choice"]
    if choice is not None:
        sound = len(choice) == 3 and all(is_finite(each) and each >= 0 for each in choice)
        if not sound or (choice[2] and not all(choice)):
            raise InputError(
                "trend_choice", "must be a half-life in seconds, a prior and a weight above 0",
                choice, "Leave it out: validation rows choose them.",
            )  # fmt: skip
    return Trend(counts, _half_lives(config, "trend_half_lives"))


def _half_lives(config: Any, key: str) -> list[float]:
    """Return half-lives in seconds, to choose from."""
    return [in_seconds_above_zero(each, key) for each in config[key]]


def cooccurrences(config: Any, n_items: int) -> Cooccurrences | None:
    """Build the counts of what goes together, or return None where they are switched off."""
    if not config["cooccurrence_window"]:
        return None
    half_lives, reads_times = [], config["time_intervals"] or config["request_time"]
    if reads_times and config["cooccurrence_half_lives"]:
        half_lives = _half_lives(config, "cooccurrence_half_lives")
    made, choice = Cooccurrences(n_items, half_lives), config["cooccurrence_choice"]
    if choice is not None:
        sound = len(choice) == 4 and all(is_finite(each) and each >= 0 for each in choice)
        if not sound or max(choice[1:]) > 1 or (choice[0] and not half_lives):
            raise InputError(
                "cooccurrence_choice", "must be a half-life in seconds (0: none, as without "
                "times), and, each 0 to 1, a decay, whether what stood before an item counts, and "
                "a share",
                choice, "Leave it out: validation rows choose them.",
            )  # fmt: skip
        made.choose(*choice)
    return made


def rare_items(config: Any) -> RareItems | None:
    """Build the boost of rare items, or return None where it may cost nothing and is not told."""
    cost, boost = config["rare_item_cost"], config["rare_item_boost"]
    if not cost and boost is None:
        return None
    made = RareItems(cost)
    made.choose(boost or 0.0)
    return made


def new_items(config: Any) -> NewItems | None:
    """Build the offset of new items, or return None where they are scored as all others."""
    share, offset = config["new_item_share"], config["new_item_offset"]
    if share is None and offset is None:
        return None
    made = NewItems(share or 0.0)
    made.choose(offset or 0.0)
    return made


def items(config: Any, widths: dict[str, int]) -> ItemTower:
    """Build the item tower."""
    return ItemTower(
        widths, config["hidden_size"], config["use_item_id"], config["expert_dropout_prob"]
    )


def fusion(config: Any) -> Fusion:
    """Build the fusion of the two scores."""
    weights = tuple(config["fusion_weights"])
    sound = len(weights) == 2 and all(is_finite(each) and each >= 0 for each in weights)
    if not sound or not any(weights):
        raise InputError(
            "fusion_weights", "must be two non-negative numbers, for the sequence and the "
            "retrieval score, not both 0", list(weights), "Write for example [0.4, 0.6].",
        )  # fmt: skip
    if config["fusion"] == "weighted":
        return WeightedFusion(weights, config["fusion_scale"])
    if config["fusion"] == "gated":
        return GatedFusion(config["hidden_size"], weights, config["fusion_scale"])
    raise InputError(
        "fusion", "must be weighted or gated", repr(config["fusion"]), "Correct the YAML file."
    )


def sampler(config: Any, dataset: Any) -> RepeatableSampler:
    """Build RecBole's sampler over the training interactions, for shared negatives [K]."""
    items = training_interactions(dataset)[dataset.iid_field]
    view = dataset.copy(Interaction({dataset.iid_field: items}))
    view.interactions = view.inter_feat  # drops the other fields
    return RepeatableSampler(["train"], view, config["negative_distribution"])
