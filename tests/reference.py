"""Naive loops that the fast paths must equal, in outputs and in gradients."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def windows(sequence: Sequence[int], longest: int) -> list[tuple[list[int], int]]:
    """Tile the targets of one user's training sequence from the end: (history, last target)."""
    found = []
    target = len(sequence) - 1
    while target >= 1:
        start = max(target - longest, 0)
        found.append((list(sequence[start:target]), sequence[target]))
        target -= longest
    return found[::-1]


def newest_snapshot(
    snapshots: Sequence[tuple[int, int]], user: int, known: int
) -> tuple[int, int] | None:
    """Return the longest snapshot (user, length) of a user with length <= known, if any."""
    fitting = [s for s in snapshots if s[0] == user and s[1] <= known]
    return max(fitting, key=lambda s: s[1]) if fitting else None


def softmax(logits: Sequence[Tensor]) -> list[Tensor]:
    """Normalise a list of scalar logits."""
    largest = max(float(x) for x in logits)
    exponents = [(x - largest).exp() for x in logits]
    total = sum(exponents)
    return [e / total for e in exponents]


def route(router: Any, h: Tensor, present: Sequence[bool]) -> list[Tensor]:
    """Weigh the outputs of a router for one state [D]."""
    logits = [x / router.config.temperature for x in router.gate(h)]
    kept = [g for g, here in enumerate(present) if here]
    if router.config.top_k:
        kept = sorted(kept, key=lambda g: -float(logits[g]))[: router.config.top_k]
    weights = [h.new_zeros(()) for _ in logits]
    if kept:
        for g, weight in zip(kept, softmax([logits[g] for g in kept]), strict=True):
            weights[g] = weight
    return weights


def attend(attention: Any, query: Tensor, memory: Sequence[Tensor]) -> Tensor:
    """Let one query [D] attend to a list of memory vectors [D], head by head."""
    q = attention.query(query)
    keys = [attention.key(m) for m in memory]
    values = [attention.value(m) for m in memory]
    size = len(query) // attention.n_heads
    heads = []
    for n in range(attention.n_heads):
        part = slice(n * size, (n + 1) * size)
        weights = softmax([(q[part] * key[part]).sum() / math.sqrt(size) for key in keys])
        heads.append(sum(w * value[part] for w, value in zip(weights, values, strict=True)))
    return attention.dense(torch.cat(heads))


def transform(block: Any, x: Tensor, memory: Sequence[Tensor]) -> Tensor:
    """Run one transformer block for one state [D]; dropout is taken to be off."""
    if block.norm_first:
        x = x + attend(block.attention, block.attention_norm(x), memory)
        inner = block.feed_forward_norm(x)
        return x + block.dense_2(block.activation(block.dense_1(inner)))
    x = block.attention_norm(x + attend(block.attention, x, memory))
    return block.feed_forward_norm(x + block.dense_2(block.activation(block.dense_1(x))))


def modality_moe(module: Any, h: Tensor, known: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Mix the sub-experts for one state [D], given the raw vectors [W] it may look at."""
    memory = list(module.proxy_tokens) + [module.input_norm(module.input(v)) for v in known]
    n_experts = len(module.experts)
    if module.router is None:
        weights = [h.new_ones(())]
    else:
        weights = route(module.router, h, [True] * n_experts)
    mixed = torch.zeros_like(h)
    for weight, expert in zip(weights, module.experts, strict=True):
        output = h
        for block in expert.blocks:
            output = transform(block, output, memory)
        mixed = mixed + weight * output
    return mixed, weights


def hierarchical_moe(
    module: Any, h: Tensor, where: Tensor, contexts: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return r [P, D] and the modal routes [P, M], one position after the other."""
    states, routes = [], []
    for p, (b, t) in enumerate(where.nonzero().tolist()):
        known = {
            name: [context.tokens[b, s] for s in context.mask[b, t].nonzero().flatten().tolist()]
            for name, context in contexts.items()
        }
        weights = route(module.router, h[p], [bool(known[name]) for name in module.modalities])
        mixed = torch.zeros_like(h[p])
        for weight, (name, part) in zip(weights, module.modalities.items(), strict=True):
            if known[name]:
                mixed = mixed + weight * modality_moe(part, h[p], known[name])[0]
        states.append(module.output_norm(h[p] + mixed))
        routes.append(torch.stack(weights))
    return torch.stack(states), torch.stack(routes)


def next_item(scores: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Average -log softmax of the target over the items that are candidates."""
    total = scores.new_zeros(())
    for p, target in enumerate(targets.tolist()):
        rivals = [
            i
            for i in range(1, scores.shape[1])
            if i == target or excluded is None or not excluded[p, i]
        ]
        total = total - softmax([scores[p, i] for i in rivals])[rivals.index(target)].log()
    return total / len(targets)


def info_nce(positive: Tensor, negative: Tensor, false_negative: Tensor) -> Tensor:
    """Average -log of the positive's share, leaving false negatives out."""
    total = positive.new_zeros(())
    for p in range(len(positive)):
        kept = [negative[p, k] for k in range(negative.shape[1]) if not false_negative[p, k]]
        total = total - softmax([positive[p], *kept])[0].log()
    return total / len(positive)


def alignment(left: Tensor, right: Tensor, present: Tensor, temperature: float) -> Tensor:
    """Average over both directions of -log of an item's own share among all present items."""
    here = present.nonzero().flatten().tolist()
    total = left.new_zeros(())
    for first, second in ((left, right), (right, left)):
        for i in here:
            logits = [
                (first[i] @ second[j]) / (first[i].norm() * second[j].norm()) / temperature
                for j in here
            ]
            total = total - softmax(logits)[here.index(i)].log() / len(here)
    return total / 2


def rank(scores: np.ndarray, target: int, candidates: Sequence[int]) -> int:
    """Place the target among the candidates, behind everything that scores as high."""
    return 1 + sum(1 for c in candidates if c != target and scores[c] >= scores[target])


def copy_sasrec(sasrec: Any, model: Any) -> None:
    """Copy all weights of RecBole's SASRec into UR4Rec's encoder and item embeddings."""
    names = {
        "item_embedding": "item_embedding.id",
        "position_embedding": "encoder.position_embedding",
        "LayerNorm": "encoder.input_norm",
    }
    for n in range(sasrec.n_layers):
        theirs, ours = f"trm_encoder.layer.{n}", f"encoder.blocks.{n}"
        for part in ("query", "key", "value", "dense"):
            names[f"{theirs}.multi_head_attention.{part}"] = f"{ours}.attention.{part}"
        names[f"{theirs}.multi_head_attention.LayerNorm"] = f"{ours}.attention_norm"
        names[f"{theirs}.feed_forward.dense_1"] = f"{ours}.dense_1"
        names[f"{theirs}.feed_forward.dense_2"] = f"{ours}.dense_2"
        names[f"{theirs}.feed_forward.LayerNorm"] = f"{ours}.feed_forward_norm"
    own = model.state_dict()
    for key, value in sasrec.state_dict().items():
        module, _, kind = key.rpartition(".")
        own[f"{names[module]}.{kind}"].copy_(value)
