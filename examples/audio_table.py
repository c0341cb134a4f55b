"""Make a table of how items sound: a modality that the package has no name for, in one file.

python examples/audio_table.py sounds/ dataset/shop/item_audio.npz

sounds/ holds ITEM_ID.wav, 16 bits a sample. In the configuration it is then named by

item_tables: {audio: dataset/shop/item_audio.npz}

A sound becomes the mean and the deviation, over its frames, of the log energies in 32 bands. An
audio model such as CLAP would take the place of `encode`; nothing else would change.
"""

import hashlib
import sys
import wave
from pathlib import Path

import numpy as np

from ur4rec_recbole.data.features import FeatureTable

FRAME, BANDS = 512, 32


def read(file: Path) -> np.ndarray:
    """Return the samples of a sound, its channels averaged, from -1 to 1."""
    with wave.open(str(file)) as sound:
        if sound.getsampwidth() != 2:
            raise ValueError(f"{file} has {8 * sound.getsampwidth()} bits a sample, not 16")
        content = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
        return content.reshape(-1, sound.getnchannels()).mean(axis=1) / 2**15


def encode(samples: np.ndarray) -> np.ndarray:
    """Return a vector [2 * BANDS] of length 1."""
    count = max(1, len(samples) // FRAME)
    padded = np.zeros(count * FRAME)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    power = np.abs(np.fft.rfft(padded.reshape(count, FRAME) * np.hanning(FRAME))) ** 2
    edges = np.geomspace(1, power.shape[1] - 1, BANDS).astype(int)
    bands = np.log1p(np.add.reduceat(power, edges, axis=1))  # [frames, BANDS]
    vector = np.concatenate([bands.mean(axis=0), bands.std(axis=0)])
    return vector / max(float(np.linalg.norm(vector)), 1e-8)


def main(folder: Path, output: Path) -> None:
    """Encode every sound of a folder; items without one get no row, and are masked."""
    files = sorted(folder.glob("*.wav"))
    vectors = np.stack([encode(read(file)) for file in files]).astype(np.float16)
    source = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    provenance = {
        "kind": "item_audio",
        "encoder": f"log energies in {BANDS} bands",
        "encoder_version": "1",
        "source_sha256": source,
        "split": "none",
    }
    FeatureTable(np.array([file.stem for file in files]), vectors, provenance).save(output)
    print(f"{output}: {len(files)} items, width {vectors.shape[1]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
