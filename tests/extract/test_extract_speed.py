import argparse

import numpy as np
from PIL import Image

from ur4rec_recbole.experiments.extract_speed import compare, image_speed


def test_every_file_goes_through_the_extractor(tiny_clip, tmp_path):
    for number in range(5):
        pixels = np.full((40, 40, 3), 40 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "9.jpg").write_bytes(b"broken")
    options = argparse.Namespace(
        images=str(tmp_path), model="tiny-test", workers=0, batch_size=2, rounds=1
    )
    found = image_speed(options)
    assert (found["inputs"], found["vectors"], found["masked"]) == (6, 5, 1)


def test_the_bare_model_is_timed_before_and_after():
    calls = []
    found = compare(lambda: calls.append("bare"), lambda: calls.append("ours"), 4, 1)
    assert calls == ["bare", "ours", "bare"]
    assert len(found["bare_seconds"]) == 2 and found["inputs"] == 4
