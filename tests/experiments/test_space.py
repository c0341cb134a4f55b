"""A space file: what it means, and the mistakes that it refuses."""

from pathlib import Path
from typing import Any

import pytest

from tests.home import at_home, home  # noqa: F401
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.experiments import search
from ur4rec_recbole.experiments.space import Choices, Range, make_space, read_file, values

SHIPPED = Path(__file__).parents[2] / "properties" / "space_small.yaml"


def write(text: str) -> Path:
    file = Path("space.yaml")
    file.write_text(text)
    return file


def prepared(text: str, words: tuple[str, ...] = (), startup: int = 1, warmup: int = 1) -> Any:
    wanted = (None, None, ["toy.yaml"])
    return search.prepare(wanted, words, write(text), "optuna", startup, warmup)


def test_a_space_is_ranges_and_choices() -> None:
    text = """
    learning_rate: {low: 1e-4, high: 0.1, log: true}
    n_layers: {low: 1, high: 3, int: true}
    stages: {choices: [[pretrain_sasrec], [end_to_end]]}
    """
    found = make_space(read_file(write(text)), "space.yaml")
    assert found["learning_rate"] == Range(1e-4, 0.1, log=True)
    assert found["n_layers"] == Range(1, 3, whole=True)
    assert isinstance(found["stages"], Choices)
    label = list(found["stages"].by_label)[1]
    assert values(found, {"stages": label, "n_layers": 2}) == {
        "stages": ["end_to_end"], "n_layers": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "must name settings"),
        ("- learning_rate", "space.yaml"),
        ("a: {low: 1", "YAML"),
        ("learning_rate: 0.1", "learning_rate"),
        ("learning_rate: [0.1, 0.2]", "choices"),
        ("learning_rate: {}", "low"),
        ("learning_rate: {low: 0.1}", "high"),
        ("learning_rate: {low: 0.1, high: 0.1}", "below high"),
        ("learning_rate: {low: 0.2, high: 0.1}", "below high"),
        ("learning_rate: {low: a, high: 0.1}", "low"),
        ("learning_rate: {low: .nan, high: 0.1}", "low"),
        ("learning_rate: {low: 0.1, high: .inf}", "high"),
        ("learning_rate: {low: true, high: 2}", "low"),
        ("learning_rate: {low: 0, high: 0.1, log: true}", "log"),
        ("learning_rate: {low: 0.1, high: 0.2, log: yes please}", "log"),
        ("learning_rate: {low: 0.1, high: 0.2, logs: true}", "Did you mean 'log'"),
        ("n_layers: {low: 1, high: 2.5, int: true}", "high"),
        ("n_layers: {low: 1, high: 2, int: 1}", "int"),
        ("n_layers: {low: 1, high: 1e400, int: true}", "high"),
        ("n_layers: {choices: 2}", "choices"),
        ("n_layers: {choices: []}", "choices"),
        ("n_layers: {choices: [2]}", "choices"),
        ("n_layers: {choices: [2, 2]}", "choices"),
        ("n_layers: {choices: [.nan, 2]}", "choices"),
        ("n_layers: {choices: [1, 2], log: true}", "log"),
        ("seed: {choices: [1, 2]}", "seed"),
        ("valid_metric: {choices: [Hit@5, NDCG@5]}", "valid_metric"),
        ("eval_args.mode: {choices: [full, uni100]}", "eval_args"),
        # by the model's own rules
        ("n_layer: {choices: [1, 2]}", "Did you mean 'n_layers'"),
        ("n_layers: {low: 1, high: 3}", "n_layers"),
        ("n_layers: {low: 0, high: 3, int: true}", "n_layers"),
        ("hidden_dropout_prob: {low: 0.5, high: 1.5}", "hidden_dropout_prob"),
        ("fusion: {choices: [weighted, wieghted]}", "fusion"),
        ("stages: {choices: [[pretrain_sasrec], [pretrain]]}", "stages"),
        ("learning_rate.x: {low: 0.1, high: 0.2}", "learning_rate"),
    ],
)
def test_a_mistake_in_a_space_is_refused(text: str, names: str, at_home: None) -> None:  # noqa: F811
    with pytest.raises(InputError) as refused:
        prepared(text, ("--learning_rate=0.01",))
    assert names in str(refused.value) and "space.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("word", "startup", "warmup", "names"),
    [
        ("--run_folder=a", 1, 1, "run_folder"),
        ("--nproc=2", 1, 1, "nproc"),
        ("--eval_args={split: {LS: test_only}}", 1, 1, "validation"),
        ("--epochs=1", 0, 1, "--startup"),
        ("--epochs=1", 1, -1, "--warmup"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    word: str, startup: int, warmup: int, names: str, at_home: None  # noqa: F811
) -> None:  # fmt: skip
    with pytest.raises(InputError, match=names):
        prepared("n_layers: {low: 1, high: 2, int: true}", (word,), startup, warmup)


def test_the_shipped_space_fits_its_preset() -> None:
    preset = str(SHIPPED.with_name("small.yaml"))
    found = search.prepare((None, None, [preset]), (), SHIPPED, "optuna", 5, 3)
    assert set(found.dimensions) <= set(found.settings)
    assert found.metric == "ndcg@10" and found.bigger
