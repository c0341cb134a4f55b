"""A modality that the package has no name for: sounds, by the table of one file of the examples."""

import importlib.util
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import make_table, sequences
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.data.fingerprints import table_hashes
from ur4rec_recbole.serving.recommender import Recommender

SCRIPT = Path(__file__).parents[2] / "examples" / "audio_table.py"
RATE = 8000
WITH_SOUND = [f"i{number}" for number in range(1, 16)]  # of twenty items


def example() -> Any:
    found = importlib.util.spec_from_file_location("audio_table", SCRIPT)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def tone(pitch: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(RATE // 2) / RATE)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Return the table of sounds of which odd items are low and even items are high."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number, item in enumerate(WITH_SOUND):
        samples = tone((220 if number % 2 else 1760) + 5 * number) * 2**15
        with wave.open(str(folder / f"{item}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    example().main(folder, tmp_path / "item_audio.npz")
    return tmp_path / "item_audio.npz"


def test_sounds_of_a_pitch_are_alike(audio: Path) -> None:
    vectors = FeatureTable.load(audio).vectors.astype(float)
    cosines = vectors @ vectors.T
    numbers = np.arange(len(WITH_SOUND))
    alike = (numbers[:, None] - numbers) % 2 == 0
    assert cosines[alike].min() > cosines[~alike].max()


def test_a_table_of_audio_is_trained_with_and_served(audio: Path, toy: Any, tmp_path: Path) -> None:
    text = make_table("item_text", WITH_SOUND)
    tables = {"tables": {"item_text_table": text}, "item_tables": {"audio": str(audio)}}
    made = toy(**tables, stages=["pretrain_retriever"])
    model = made.model
    made.new_trainer().fit(*made.loaders[:2], saved=False, verbose=False)
    sum(model.calculate_loss(next(iter(made.loaders[0])))).backward()
    for part in (model.experts.modalities["audio"], model.items.content["audio"]):
        assert all(weight.grad is not None and weight.grad.any() for weight in part.parameters())
    assert list(table_hashes(made.config)) == ["item_text_table", "item_tables: audio"]

    Recommender.from_model(model.eval(), made.train).save(tmp_path / "served")
    served = Recommender.load(tmp_path / "served")
    history = sequences()["u9"][:5]
    expected = Recommender.from_model(model, made.train).recommend(history, k=5).items
    assert served.recommend(history, k=5).items == expected
    served.add_items(["new"], vectors={"audio": example().encode(tone(225.0))[None]})
    assert "new" in served.recommend(history, k=20).items


def test_scores_depend_on_the_sounds(toy: Any) -> None:
    scores = []
    for seed in (1, 2):
        table = make_table("item_audio", WITH_SOUND, seed=seed)
        table.save("audio.npz")
        made = toy(item_tables={"audio": "audio.npz"}, stages=["pretrain_retriever"])
        scores.append(made.model.full_sort_predict(made.rows()))
    assert not torch.allclose(scores[0], scores[1])


@pytest.mark.parametrize("name", ["text", "profile", "id", "Audio", "a.b", "train", "items", 3])
def test_a_name_that_is_taken_or_no_name_is_refused(toy: Any, name: Any) -> None:
    make_table("item_audio", WITH_SOUND).save("audio.npz")
    with pytest.raises(InputError, match="not taken"):
        _ = toy(item_tables={name: "audio.npz"}).model


def test_a_table_of_another_kind_is_refused(toy: Any) -> None:
    make_table("item_image", WITH_SOUND).save("audio.npz")
    with pytest.raises(InputError, match="item_tables: audio must name a table of kind item_audio"):
        _ = toy(item_tables={"audio": "audio.npz"}).model
