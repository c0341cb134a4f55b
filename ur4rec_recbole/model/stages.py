"""Stages: what trains, what is frozen, which losses, and which score is validated.

| stage              | trains                       | losses                                  |
|--------------------|------------------------------|-----------------------------------------|
| pretrain_sasrec    | encoder                      | sequence                                |
| pretrain_retriever | experts, item tower          | retrieval (+ balance, alignment)        |
| joint_finetune     | all, encoder at a lower rate | fused, sequence, retrieval (+ the same) |
| end_to_end         | all                          | fused                                   |
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ur4rec_recbole.core.config import is_finite
from ur4rec_recbole.core.errors import InputError

PARTS = ("encoder", "retriever", "fusion")
LOSSES = ("sequence", "retrieval", "fused")
SCORES = ("sequence", "retrieval", "fused")
# The parts that a loss reaches: what else trains, it cannot lower.
REACH = {"sequence": ("encoder",), "retrieval": ("encoder", "retriever"), "fused": PARTS}


@dataclass(frozen=True)
class Stage:
    """One entry of `stages:` in the configuration.

    Attributes
    ----------
    name
        Shown in logs; the same stage may occur again.
    rates
        Learning rate of each component that trains; a component without one is frozen.
    losses
        Weights of the next-item losses on each score.
    score
        The score that predictions use while the stage runs and after it.
    epochs, patience
        Most epochs; epochs without a better validation result after which it stops.
    """

    name: str
    rates: Mapping[str, float]
    losses: Mapping[str, float]
    score: str
    epochs: int
    patience: int

    def __post_init__(self) -> None:
        for key, known in (("rates", PARTS), ("losses", LOSSES)):
            given = getattr(self, key)
            if not _is_weighting(given, known):
                self._refuse(key, f"must map some of {known} to finite numbers above 0", given)
        if not any(set(REACH[loss]) & set(self.rates) for loss in self.losses):
            self._refuse(
                "losses", "must have one that a training part can lower",
                {"rates": dict(self.rates), "losses": dict(self.losses)},
            )  # fmt: skip
        if self.score not in SCORES:
            self._refuse("score", f"must be one of {SCORES}", self.score)
        for key, least in (("epochs", 0), ("patience", 1)):
            given = getattr(self, key)
            if type(given) is not int or given < least:
                self._refuse(key, f"must be an int, >= {least}", given)

    def _refuse(self, key: str, rule: str, given: object) -> None:
        raise InputError(
            f"stages: {key} of {self.name}",
            rule,
            repr(given),
            "Correct the entry under `stages:` in the YAML file.",
        )

    @property
    def trains(self) -> tuple[str, ...]:
        """The components that are not frozen."""
        return tuple(part for part in PARTS if part in self.rates)


def _is_weighting(given: Any, known: tuple[str, ...]) -> bool:
    """Tell whether `given` maps some of the known names to positive numbers, and nothing else."""
    if not isinstance(given, Mapping) or not given or not set(given) <= set(known):
        return False
    return all(is_finite(value) and value > 0 for value in given.values())


def read_stages(config: Any) -> list[Stage]:
    """Read `stages:`, a list of names or of mappings that override a named stage's settings."""
    presets = _presets(config)
    stages = []
    for entry in config["stages"] or []:
        settings = dict(entry) if isinstance(entry, dict) else {"name": entry}
        name = settings.pop("name", None)
        if not isinstance(name, str) or name not in presets:
            raise InputError(
                "stages: name", f"must be one of {list(presets)}", repr(name),
                "Correct the entry under `stages:` in the YAML file.",
            )  # fmt: skip
        unknown = set(settings) - {"rates", "losses", "score", "epochs", "patience"}
        if unknown:
            raise InputError(
                f"stages: {name}", "takes rates, losses, score, epochs and patience",
                sorted(unknown), "Remove the unknown keys.",
            )  # fmt: skip
        stages.append(replace(presets[name], **settings))
    if not stages:
        raise InputError(
            "stages",
            "must list at least one stage",
            config["stages"],
            f"Choose of {list(presets)}.",
        )
    return stages


def _presets(config: Any) -> dict[str, Stage]:
    encoder, retriever = config["learning_rate"], config["retriever_learning_rate"]
    lowered = encoder * config["joint_encoder_rate"]
    limits = {"epochs": config["epochs"], "patience": config["stopping_step"]}
    stages = [
        Stage("pretrain_sasrec", {"encoder": encoder}, {"sequence": 1.0}, "sequence", **limits),
        Stage(
            "pretrain_retriever", {"retriever": retriever}, {"retrieval": 1.0}, "fused", **limits
        ),
        Stage(
            "joint_finetune",
            {"encoder": lowered, "retriever": retriever, "fusion": retriever},
            {"fused": 1.0, "sequence": 1.0, "retrieval": 1.0},
            "fused",
            **limits,
        ),
        Stage(
            "end_to_end",
            {"encoder": lowered, "retriever": lowered, "fusion": lowered},
            {"fused": 1.0},
            "fused",
            **limits,
        ),
    ]
    return {stage.name: stage for stage in stages}
