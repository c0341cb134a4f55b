"""Experts: what a user's texts, images and profile say about the next item.

Queries are the sequence states; keys and values are the context tokens of one modality that are
known at that position. Candidates never enter: they meet the result in a dot product only.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.core.products import Linear
from ur4rec_recbole.model.attention import BlockConfig, TransformerBlock
from ur4rec_recbole.model.positions import Positions


class Context(NamedTuple):
    """The context tokens of one modality.

    Attributes
    ----------
    tokens
        [B, S, W] raw feature vectors.
    mask
        [B, L, S] bool: token s is present and known at position t.
    """

    tokens: Tensor
    mask: Tensor


class Routes(NamedTuple):
    """Weights that the routers gave: modal [P, M], sub [P, M, E]."""

    modal: Tensor
    sub: Tensor


@dataclass(frozen=True)
class RouterConfig:
    """How a router weighs.

    Attributes
    ----------
    temperature
        Above 1 flattens the weights, below 1 sharpens them.
    noise
        Standard deviation of Gaussian noise on the logits while training.
    top_k
        Outputs kept per position, at least 2; 0 keeps all.
    """

    temperature: float = 1.0
    noise: float = 0.0
    top_k: int = 0


@dataclass(frozen=True)
class ExpertConfig:
    """Sizes of the mixture within one modality.

    Attributes
    ----------
    n_sub_experts
        E; 1 is a flat mixture (one expert per modality, no sub-router).
    n_layers
        Blocks per sub-expert.
    n_proxy_tokens
        Learned tokens before the context, at least 1.
    block
        Sizes of a block.
    router
        Of the sub-router.
    """

    n_sub_experts: int
    n_layers: int
    n_proxy_tokens: int
    block: BlockConfig
    router: RouterConfig

    def __post_init__(self) -> None:
        if self.n_proxy_tokens < 1:
            raise InputError(
                "n_proxy_tokens",
                "must be at least 1, since attention needs a token",
                self.n_proxy_tokens,
                "Raise it in the YAML file.",
            )


class Router(nn.Module):
    """Presence-aware softmax gate: w = softmax(W x / temperature) over what is present.

    An absent output has weight exactly 0 and the rest sum to 1; where all are absent all are 0.
    With `top_k`, all but the k largest count as absent (Shazeer et al. 2017, section 2.1).

    Parameters
    ----------
    hidden_size, n_outputs
        D and the number of gates.
    config
        Temperature, noise and top_k.
    """

    def __init__(self, hidden_size: int, n_outputs: int, config: RouterConfig) -> None:
        super().__init__()
        if config.top_k and not 2 <= config.top_k <= n_outputs:
            # The single weight of top-1 would always be 1 and teach the router nothing.
            raise InputError(
                "router_top_k",
                f"must be in [2, {n_outputs}], or 0 for all",
                config.top_k,
                "Change router_top_k in the YAML file.",
            )
        self.config = config
        self.gate = Linear(hidden_size, n_outputs)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Return weights [..., n_outputs] for states [..., D] and presence [..., n_outputs]."""
        logits = self.gate(x).float() / self.config.temperature
        if self.config.noise and self.training:
            logits = logits + self.config.noise * torch.randn_like(logits)
        kept = torch.ones_like(logits, dtype=torch.bool) if present is None else present
        if self.config.top_k:
            ranked = logits.masked_fill(~kept, -torch.inf).topk(self.config.top_k, dim=-1).indices
            kept = kept & (torch.zeros_like(logits).scatter(-1, ranked, 1.0) > 0)
        weights = logits.masked_fill(~kept, torch.finfo(logits.dtype).min).softmax(-1)
        return weights * kept


class SubExpert(nn.Module):
    """A stack of cross-attention blocks from the sequence state to one modality's tokens."""

    def __init__(self, n_layers: int, block: BlockConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(block) for _ in range(n_layers))

    def forward(self, h: Tensor, where: Positions, memory: Tensor, mask: Tensor) -> Tensor:
        """Map states [P, D] at `where`, given memory [B, S, D] and mask [B, L, S]."""
        for block in self.blocks:
            h = block(h, where, memory, mask)
        return h


class ModalityMoE(nn.Module):
    """The sub-experts of one modality under their own router: sum_e w_e expert_e(h).

    Learned proxy tokens precede the context tokens, so that a position without any context still
    has something to attend to. With `top_k`, a sub-expert computes only the positions that chose
    it.

    Parameters
    ----------
    width
        W, the length of a raw feature vector.
    config
        Sizes.
    """

    def __init__(self, width: int, config: ExpertConfig) -> None:
        super().__init__()
        hidden_size, n_experts = config.block.hidden_size, config.n_sub_experts
        self.input = Linear(width, hidden_size)
        self.input_norm = nn.LayerNorm(hidden_size, eps=config.block.layer_norm_eps)
        self.proxy_tokens = nn.Parameter(torch.empty(config.n_proxy_tokens, hidden_size))
        nn.init.normal_(self.proxy_tokens, std=0.02)
        self.experts = nn.ModuleList(
            SubExpert(config.n_layers, config.block) for _ in range(n_experts)
        )
        self.router = Router(hidden_size, n_experts, config.router) if n_experts > 1 else None

    def forward(self, h: Tensor, where: Positions, context: Context) -> tuple[Tensor, Tensor]:
        """Return the mixture [P, D] and the sub-routes [P, E] for states [P, D] at `where`."""
        n_batch, n_positions = where.shape
        proxies = self.proxy_tokens.expand(n_batch, -1, -1)
        memory = torch.cat([proxies, self.input_norm(self.input(context.tokens))], dim=1)
        open_proxies = context.mask.new_ones(n_batch, n_positions, proxies.shape[1])
        mask = torch.cat([open_proxies, context.mask], dim=-1)  # [B, L, proxies + S]
        if self.router is None:
            return self.experts[0](h, where, memory, mask), h.new_ones(len(h), 1)
        weights = self.router(h)  # [P, E]
        mixed = torch.zeros_like(h)
        for e, expert in enumerate(self.experts):
            if not self.router.config.top_k:  # all positions chose it, which is known beforehand
                part = weights[:, e : e + 1] * expert(h, where, memory, mask)
                mixed = mixed + part.to(mixed.dtype)
                continue
            routed = (weights[:, e] > 0).nonzero().squeeze(1)  # [Q]
            if not len(routed):
                continue
            states = expert(h[routed], where.some(routed), memory, mask)
            part = weights[routed, e : e + 1] * states
            # Not accumulate=True, which an export to ONNX leaves out.
            mixed = mixed.index_put((routed,), mixed[routed] + part.to(mixed.dtype))
        return mixed, weights


class HierarchicalMoE(nn.Module):
    """Modalities mixed by a presence-aware router: r = LN(h + sum_m w_m modality_m(h)).

    Parameters
    ----------
    widths
        Feature width W of each modality, by name; the order is that of M.
    experts
        Sizes within a modality.
    router
        Of the cross-modal router.
    """

    def __init__(self, widths: dict[str, int], experts: ExpertConfig, router: RouterConfig) -> None:
        super().__init__()
        self.n_sub_experts = experts.n_sub_experts
        hidden_size = experts.block.hidden_size
        self.modalities = nn.ModuleDict(
            {name: ModalityMoE(width, experts) for name, width in widths.items()}
        )
        self.router = Router(hidden_size, len(widths), router)
        self.output_norm = nn.LayerNorm(hidden_size, eps=experts.block.layer_norm_eps)

    def forward(
        self, h: Tensor, where: Positions, contexts: dict[str, Context]
    ) -> tuple[Tensor, Routes]:
        """Mix what the modalities say.

        Parameters
        ----------
        h
            [P, D] sequence states, the queries.
        where
            Their places in [B, L].
        contexts
            Context by modality; a modality without a present token at t is absent at t.

        Returns
        -------
        r
            [P, D].
        routes
            Of both routers.
        """
        ordered = [contexts[name] for name in self.modalities]
        present = torch.stack([where.pack(context.mask.any(-1)) for context in ordered], dim=-1)
        modal = self.router(h, present)  # [P, M]
        mixed, sub = torch.zeros_like(h), []
        for m, (module, context) in enumerate(zip(self.modalities.values(), ordered, strict=True)):
            if not present[:, m].any():  # modality absent in this batch
                sub.append(h.new_zeros(len(h), self.n_sub_experts))
                continue
            output, weights = module(h, where, context)
            mixed = mixed + modal[:, m : m + 1].to(h.dtype) * output
            sub.append(weights)
        return self.output_norm(h + mixed), Routes(modal, torch.stack(sub, dim=1))


class NoExperts(nn.Module):
    """Replaces the experts in ablations: r = LN(h), whatever the user's content.

    Parameters
    ----------
    hidden_size, layer_norm_eps
        D, and the constant of the norm.
    """

    def __init__(self, hidden_size: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.output_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(
        self, h: Tensor, where: Positions, contexts: dict[str, Context]
    ) -> tuple[Tensor, Routes]:
        """Return r [P, D] and empty routes; arguments as in `HierarchicalMoE`."""
        del where, contexts
        return self.output_norm(h), Routes(h.new_zeros(len(h), 0), h.new_zeros(len(h), 0, 0))
