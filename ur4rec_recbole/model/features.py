"""FeatureBank: the vectors of all modalities, and which of them a position may look at."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ur4rec_recbole.data.modalities import Modalities
from ur4rec_recbole.data.profiles import newest_snapshot
from ur4rec_recbole.model.experts import Context

STANDARD = ("profile", "text", "image")  # have experts with or without a table


class FeatureBank(nn.Module):
    """Holds feature vectors as buffers outside the checkpoint and gathers contexts from them.

    Parameters
    ----------
    modalities
        What `load_modalities` returns. A modality without a table is masked everywhere.
    """

    profile_vectors: Tensor
    profile_keys: Tensor

    def __init__(self, modalities: Modalities) -> None:
        super().__init__()
        self.item_modalities = tuple(modalities.items)
        self.origins = {name: feature.origin for name, feature in modalities.items.items()}
        for name, feature in modalities.items.items():
            self.register_buffer(f"{name}_vectors", feature.vectors, persistent=False)
            self.register_buffer(f"{name}_present", feature.present, persistent=False)
        profile = modalities.profile
        vectors = torch.zeros(1, 1) if profile is None else profile.vectors
        keys = torch.zeros(0, dtype=torch.long) if profile is None else profile.keys
        self.register_buffer("profile_vectors", vectors, persistent=False)
        self.register_buffer("profile_keys", keys, persistent=False)
        self.profile_base = 1 if profile is None else profile.base

    def widths(self) -> dict[str, int]:
        """Return W by modality; 1 for a standard one without a table."""
        widths = dict.fromkeys(STANDARD, 1) | {"profile": self.profile_vectors.shape[1]}
        return widths | {name: self.vectors(name).shape[1] for name in self.item_modalities}

    def vectors(self, name: str, items: Tensor | None = None) -> Tensor:
        """Return the vectors [N, W] of an item modality, or those of some items [U]."""
        vectors = self.get_buffer(f"{name}_vectors")
        return vectors if items is None else vectors[items]

    def tokens(self, name: str) -> Tensor:
        """Return what the experts read of each item, [N, W]."""
        return self.vectors(name)

    def unit(self, name: str) -> Tensor:
        """Return the vectors [N, W] of an item modality at length 1; of an absent one, zeros."""
        return functional.normalize(self.vectors(name), dim=-1)

    def present(self, name: str, items: Tensor | None = None) -> Tensor:
        """Return which items [N] have a vector, or which of some [U]."""
        present = self.get_buffer(f"{name}_present")
        return present if items is None else present[items]

    def contexts(
        self, item_seq: Tensor, query: Tensor, users: Tensor, known: Tensor
    ) -> dict[str, Context]:
        """Gather the context tokens of every modality, each open to the positions after it.

        Parameters
        ----------
        item_seq
            [B, S] items of the window.
        query
            [B, L] query positions.
        users
            [B] internal ids.
        known
            [B, L] interactions of the user known at those positions, the window's and earlier.
        """
        causal = torch.arange(item_seq.shape[1], device=item_seq.device) <= query.unsqueeze(-1)
        contexts = {}
        for name in self.widths():
            if name == "profile":
                contexts[name] = self._profile_context(users, known)
            elif name in self.item_modalities:
                present = self.present(name)[item_seq].unsqueeze(1)  # [B, 1, S]
                contexts[name] = Context(self.tokens(name)[item_seq], causal & present)
            else:
                tokens = self.profile_vectors.new_zeros(len(query), 1, 1)
                contexts[name] = Context(
                    tokens, torch.zeros_like(query, dtype=torch.bool).unsqueeze(-1)
                )
        return contexts

    def _profile_context(self, users: Tensor, known: Tensor) -> Context:
        """Show each position its newest snapshot alone; neighbouring positions share a token."""
        rows = newest_snapshot(self.profile_keys, self.profile_base, users, known)  # [B, L]
        changes = rows != torch.cat([rows[:, :1], rows[:, :-1]], dim=1)  # diff has no ONNX form
        slot = changes.cumsum(1)  # [B, L], which token of its row a position reads
        distinct = rows.new_zeros(len(rows), int(slot.max()) + 1).scatter(1, slot, rows)  # [B, S]
        own = slot.unsqueeze(-1) == torch.arange(distinct.shape[1], device=rows.device)
        return Context(self.profile_vectors[distinct], own & (rows > 0).unsqueeze(-1))
