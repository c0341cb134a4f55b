"""ServedBank: a FeatureBank for scoring, which has for each item what the experts make of it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ur4rec_recbole.data.modalities import ItemFeatures, Modalities
from ur4rec_recbole.data.profiles import ProfileIndex
from ur4rec_recbole.model.experts import Context
from ur4rec_recbole.model.features import FeatureBank


class ServedBank(FeatureBank):
    """Holds item vectors that have passed the experts' input layer; looks up profiles if there are.

    Parameters
    ----------
    modalities
        As in `FeatureBank`.
    tokens
        [N, D] by item modality.
    """

    def __init__(self, modalities: Modalities, tokens: Mapping[str, Tensor]) -> None:
        super().__init__(modalities)
        for name, values in tokens.items():
            self.register_buffer(f"{name}_tokens", values, persistent=False)

    def tokens(self, name: str) -> Tensor:
        """Return what the experts read of each item, [N, D]."""
        return self.get_buffer(f"{name}_tokens")

    def profiles(self, users: Tensor) -> bool:
        """Tell whether any of some users [B] may have a profile; 0 is nobody that is known."""
        return bool(len(self.profile_keys) and users.any())

    def _profile_context(self, users: Tensor, known: Tensor) -> Context:
        if self.profiles(users):
            return super()._profile_context(users, known)
        absent = torch.zeros_like(known, dtype=torch.bool).unsqueeze(-1)
        return Context(self.profile_vectors.new_zeros(known.shape[0], 1, 1), absent)


def modalities_of(bank: FeatureBank) -> Modalities:
    """Return what a bank was made of."""
    items = {
        name: ItemFeatures(bank.vectors(name), bank.present(name), bank.origins[name])
        for name in bank.item_modalities
    }
    profile = None
    if len(bank.profile_keys):
        profile = ProfileIndex(bank.profile_vectors, bank.profile_keys, bank.profile_base)
    return Modalities(items, profile)


def extended(bank: FeatureBank, added: Mapping[str, ItemFeatures]) -> Modalities:
    """Return what a bank was made of, with further items by modality."""
    known = modalities_of(bank)
    items = {
        name: ItemFeatures(
            torch.cat([known.items[name].vectors, more.vectors]),
            torch.cat([known.items[name].present, more.present]),
            known.items[name].origin,
        )
        for name, more in added.items()
    }
    return Modalities(items, known.profile)
