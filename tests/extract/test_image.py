import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract.decoding import DecodeRules, ImageFiles, decode
from ur4rec_recbole.extract.encoders import text_encoder
from ur4rec_recbole.extract.image import ImageRun, extract_images, find_images
from ur4rec_recbole.extract.image_models import image_model


def picture(seed, size=(48, 40), mode="RGB"):
    shape = (*size[::-1], 4 if mode in ("RGBA", "CMYK") else 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if mode in ("RGBA", "CMYK"):
        return Image.frombytes(mode, size, pixels.tobytes())
    return Image.fromarray(pixels).convert(mode)


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def model(tiny_clip):
    return image_model(f"open_clip:local-dir:{tiny_clip}")


@pytest.fixture
def folder(tmp_path):
    """Twelve sound images named by item id."""
    home = tmp_path / "images"
    home.mkdir()
    for number in range(12):
        (home / f"i{number + 1}.jpg").write_bytes(saved(picture(number), "JPEG"))
    return home


def run_on(folder, model, output, **how):
    rules = DecodeRules(model.side, max_pixels=1_000_000)
    settings = {"batch_size": 4, "workers": 0, "shard_size": 4, **how}
    files, _ = find_images(str(folder))
    return extract_images(files, model, rules, ImageRun(**settings), str(output))


BAD = {
    "empty.jpg": (b"", "broken"),
    "text.jpg": (b"<html>not found</html>", "broken"),
    "truncated.jpg": (saved(picture(1), "JPEG")[:900], "broken"),
    "truncated.png": (saved(picture(1), "PNG")[:2000], "broken"),
    "grey.jpg": (saved(picture(1, mode="L"), "JPEG"), "greyscale"),
    "grey16.png": (
        saved(Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)), "PNG"),
        "greyscale",
    ),
    "cmyk.jpg": (saved(picture(1, mode="CMYK"), "JPEG"), "cmyk"),
    "dot.png": (saved(picture(1, (1, 1)), "PNG"), "too small"),
    "bomb.png": (saved(Image.new("RGB", (2000, 2000)), "PNG"), "decompression bomb"),
    "animated.webp": (
        saved(picture(1), "WEBP", save_all=True, append_images=[picture(2)]),
        "animated",
    ),
    "gif.jpg": (saved(picture(1), "GIF", save_all=True, append_images=[picture(2)]), "animated"),
    "apng.png": (saved(picture(1), "PNG", save_all=True, append_images=[picture(2)]), "animated"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "broken"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_reported_and_masked_and_the_others_stay(folder, model, tmp_path, name):
    data, reason = BAD[name]
    (folder / name).write_bytes(data)
    table, masked = run_on(folder, model, tmp_path / "t.npz")
    assert list(masked) == [name] and masked[name].startswith(reason)
    assert sorted(table.tokens) == sorted(f"i{number}" for number in range(1, 13))


def test_bad_images_in_worker_processes_are_masked_too(folder, model, tmp_path):
    for name, (data, _) in BAD.items():
        (folder / name).write_bytes(data)
    alone = run_on(folder, model, tmp_path / "a.npz", workers=0)
    spread = run_on(folder, model, tmp_path / "b.npz", workers=2)
    # truncated.png is a second file of its item.
    assert alone[1] == spread[1] and len(spread[1]) == len(BAD) - 1
    assert np.array_equal(alone[0].vectors, spread[0].vectors)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("png_named.jpg", saved(picture(3), "PNG")),
        ("jpeg_named.png", saved(picture(3), "JPEG")),
        ("webp_named.JPEG", saved(picture(3), "WEBP")),
        ("palette.png", saved(picture(3).convert("P"), "PNG")),
        ("alpha.png", saved(picture(3, mode="RGBA"), "PNG")),
    ],
)
def test_a_sound_image_gives_a_vector_whatever_its_name_claims(folder, model, tmp_path, name, data):
    (folder / name).write_bytes(data)
    table, masked = run_on(folder, model, tmp_path / "t.npz")
    assert not masked and name.split(".")[0] in table.tokens


def test_accepted_kinds_are_converted_instead_of_masked():
    rules = DecodeRules(32, accept=("greyscale", "cmyk", "animated"))
    for name in ("grey.jpg", "grey16.png", "cmyk.jpg", "gif.jpg", "animated.webp"):
        assert decode(BAD[name][0], rules).mode == "RGB"


def test_transparent_pixels_become_white():
    image = decode(saved(Image.new("RGBA", (9, 9), (255, 0, 0, 0)), "PNG"), DecodeRules(32))
    assert image.getpixel((4, 4)) == (255, 255, 255)


def test_a_bomb_is_refused_by_its_header_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    data = saved_header_of_a_huge_png()
    with pytest.raises(Exception, match="decompression bomb"):
        decode(data, DecodeRules(32))


def saved_header_of_a_huge_png():
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    chunks = [body, b"IDAT" + data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def test_vectors_equal_open_clips_own_pipeline(folder, model, tiny_clip, tmp_path):
    import open_clip

    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
    table, _ = run_on(folder, model, tmp_path / "t.npz", workers=2)
    for token, vector in zip(table.tokens, table.vectors, strict=True):
        with Image.open(folder / f"{token}.jpg") as image, torch.no_grad():
            expected = theirs.eval().encode_image(preprocess(image)[None], normalize=True)[0]
        assert np.allclose(vector, expected.numpy(), atol=1e-3)


def test_rows_carry_the_ids_of_their_files_whatever_the_batches(folder, model, tmp_path):
    (folder / "i3.jpg").write_bytes(b"broken")
    one, _ = run_on(folder, model, tmp_path / "a.npz", batch_size=1, shard_size=1)
    many, _ = run_on(folder, model, tmp_path / "b.npz", batch_size=5, shard_size=100, workers=2)
    assert one.tokens.tolist() == many.tokens.tolist() and "i3" not in one.tokens
    assert np.allclose(one.vectors, many.vectors, atol=1e-3)
    assert one.provenance["source_sha256"] == many.provenance["source_sha256"]


def test_a_changed_image_changes_the_source_hash(folder, model, tmp_path):
    before, _ = run_on(folder, model, tmp_path / "a.npz")
    (folder / "i3.jpg").write_bytes(saved(picture(99), "JPEG"))
    after, _ = run_on(folder, model, tmp_path / "a.npz")
    assert before.provenance["source_sha256"] != after.provenance["source_sha256"]


KILLED = """
import os, signal, sys
from ur4rec_recbole.extract import image
from ur4rec_recbole.extract.shards import ShardFolder
from ur4rec_recbole.commands.main import main
write = ShardFolder.write
def die(self, index, shard):
    write(self, index, shard)
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
ShardFolder.write = die
main({words!r})
"""


def test_kill_9_and_resume_redo_nothing_that_was_finished(
    folder, tiny_clip, model, tmp_path, monkeypatch
):
    expected, _ = run_on(folder, model, tmp_path / "whole.npz")
    output = tmp_path / "t.npz"
    words = ["extract", "image", "--images", str(folder), "--output", str(output)]
    words += ["--encoder", f"open_clip:local-dir:{tiny_clip}", "--workers", "1"]
    words += ["--batch-size", "4", "--shard-size", "4"]
    killed = subprocess.run([sys.executable, "-c", KILLED.format(words=words)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not output.exists()
    decoded = []
    original = ImageFiles.__getitem__
    monkeypatch.setattr(
        ImageFiles,
        "__getitem__",
        lambda self, place: decoded.append(place) or original(self, place),
    )
    assert main([*words, "--resume", "--workers", "0"]) == 0
    assert decoded == [8, 9, 10, 11]
    table = FeatureTable.load(output)
    assert np.array_equal(table.vectors, expected.vectors)
    assert table.tokens.tolist() == expected.tokens.tolist()
    assert not Path(f"{output}.parts").exists()


def test_resume_with_other_images_is_refused(folder, model, tmp_path):
    output = tmp_path / "t.npz"

    def die(count):
        if count:
            raise KeyboardInterrupt

    files, _ = find_images(str(folder))
    rules = DecodeRules(model.side)
    with pytest.raises(KeyboardInterrupt):
        extract_images(files, model, rules, ImageRun(4, 0, 4), str(output), die)
    (folder / "i9.jpg").write_bytes(saved(picture(77), "JPEG"))
    with pytest.raises(InputError, match="without --resume"):
        extract_images(files, model, rules, ImageRun(4, 0, 4, resume=True), str(output))


@pytest.mark.parametrize("weights", ["weights.pt", "open_clip_model.safetensors"])
def test_local_weights_give_the_same_vectors(folder, model, tiny_clip, tmp_path, weights):
    local = image_model("open_clip:tiny-test", str(tiny_clip / weights))
    ours, _ = run_on(folder, local, tmp_path / "a.npz")
    theirs, _ = run_on(folder, model, tmp_path / "b.npz")
    assert np.array_equal(ours.vectors, theirs.vectors)
    assert ours.provenance["encoder"] == "open_clip:tiny-test"


def test_a_pickle_that_runs_code_is_refused(tiny_clip, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save(Evil(), tmp_path / "evil.pt")
    with pytest.raises(InputError, match="weights_only"):
        image_model("open_clip:tiny-test", str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [torch.zeros(2), [torch.zeros(2)], {"a": 1}, {3: torch.zeros(2)}, {"model": {1: 2}}]
)
def test_weights_that_are_no_state_dict_are_refused(tiny_clip, tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match="must be a state dict: tensors by name"):
        image_model("open_clip:tiny-test", str(tmp_path / "w.pt"))


@pytest.mark.parametrize("make", [image_model, text_encoder])
def test_a_missing_library_is_told(monkeypatch, make):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"open_clip must be installed.*\[extract\]"):
        make("open_clip:ViT-B-32/openai")


def test_weights_of_another_model_are_refused(tiny_clip, tmp_path):
    torch.save({"visual.conv1.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="must fit the model"):
        image_model("open_clip:tiny-test", str(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:tiny-test", "must have weights"),
        ("open_clip:No-Such/openai", "must name an open_clip model"),
        ("open_clip:ViT-B-32/no_tag", "must name a tag"),
        ("resnet", "open_clip:MODEL/TAG"),
        ("timm:no_such_model", "must be a timm model"),
        ("timm:test_vit", "must load from its hub"),
    ],
)
def test_an_unknown_or_weightless_encoder_is_refused(tiny_clip, name, message):
    with pytest.raises(InputError, match=message):
        image_model(name)


def test_a_timm_model_loads_a_local_file_without_its_classifier(folder, tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    whole = timm.create_model("test_vit", pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    model = image_model("timm:test_vit", str(tmp_path / "w.safetensors"))
    table, masked = run_on(folder, model, tmp_path / "t.npz")
    with Image.open(folder / "i1.jpg") as image, torch.no_grad():
        pixels = model.preprocess(image.convert("RGB"))[None]
        expected = whole.forward_head(whole.forward_features(pixels), pre_logits=True)[0]
    found = table.vectors[table.tokens == "i1"][0]
    assert np.allclose(found, expected / expected.norm(), atol=1e-3) and not masked


def test_items_outside_the_data_set_and_second_files_are_left_out_and_told(
    folder, tiny_clip, toy, tmp_path
):
    (folder / "i1.png").write_bytes(saved(picture(1), "PNG"))
    (folder / "stranger.jpg").write_bytes(saved(picture(1), "JPEG"))
    output = str(tmp_path / "t.npz")
    words = ["extract", "image", "--images", str(folder), "--output", output, *toy]
    words += ["--encoder", f"open_clip:local-dir:{tiny_clip}", "--workers", "0"]
    assert main(words) == 0
    told = json.loads(Path(f"{output}.masked.json").read_text())["left_out"]
    assert set(told) == {"i1.png", "stranger.jpg"}
    assert len(FeatureTable.load(output)) == 12


def test_a_file_whose_name_is_no_text_is_left_out_and_told(folder, tiny_clip, tmp_path):
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jpg")).write_bytes(saved(picture(1), "JPEG"))
    output = str(tmp_path / "t.npz")
    words = ["extract", "image", "--images", str(folder), "--output", output, "--workers", "0"]
    assert main([*words, "--encoder", f"open_clip:local-dir:{tiny_clip}"]) == 0
    told = json.loads(Path(f"{output}.masked.json").read_text())["left_out"]
    assert told == {"caf\\udce9.jpg": "name is not in UTF-8"}
    assert len(FeatureTable.load(output)) == 12


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="must hold files named by item id"):
        find_images(str(tmp_path))


def test_images_that_are_all_masked_are_an_error(tmp_path, model):
    (tmp_path / "a.jpg").write_bytes(b"no")
    with pytest.raises(InputError, match="all masked"):
        run_on(tmp_path, model, tmp_path / "t.npz")


def test_bf16_stays_close_to_fp32(folder, model, tmp_path):
    exact, _ = run_on(folder, model, tmp_path / "a.npz")
    rough, _ = run_on(folder, model, tmp_path / "b.npz", precision="bf16")
    cosine = (exact.vectors.astype(float) * rough.vectors.astype(float)).sum(axis=1)
    assert cosine.min() > 0.99 and not np.array_equal(exact.vectors, rough.vectors)


@pytest.mark.parametrize("command", ["image", "text"])
def test_a_clip_folder_without_weights_is_refused(
    folder, tiny_clip, toy, tmp_path, capsys, command
):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "open_clip_config.json").write_text((tiny_clip / "open_clip_config.json").read_text())
    source = ["--images", str(folder)] if command == "image" else []
    words = ["--encoder", f"open_clip:local-dir:{bare}", "--output", str(tmp_path / "t.npz")]
    assert main(["extract", command, *source, *toy, *words]) == 2
    assert "with its weights" in capsys.readouterr().err and not (tmp_path / "t.npz").exists()


def test_a_timm_file_without_the_models_weights_is_refused(tmp_path):
    torch.save({}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="must fit the model"):
        image_model("timm:test_vit", str(tmp_path / "w.pt"))


def test_the_best_device_is_taken_and_a_missing_one_refused(tiny_clip):
    name = f"open_clip:local-dir:{tiny_clip}"
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert image_model(name).device == expected
    with pytest.raises(InputError, match="--device"):
        image_model(name, device="cuda:99")


FOREIGN = {
    "no manifest": ("photo.txt", "mine"),
    "another program's manifest": ("manifest.json", '{"name": "web app"}'),
    "a damaged manifest": ("manifest.json", '{"encoder": '),
    "a manifest that is a list": ("manifest.json", "[]"),
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_parts_that_is_not_ours_is_refused_and_left_alone(
    folder, model, tmp_path, kind, resume
):
    name, words = FOREIGN[kind]
    parts = tmp_path / "t.npz.parts"
    parts.mkdir()
    (parts / name).write_text(words)
    with pytest.raises(InputError, match="t.npz.parts must be free"):
        run_on(folder, model, tmp_path / "t.npz", resume=resume)
    assert [(file.name, file.read_text()) for file in parts.iterdir()] == [(name, words)]


def test_starting_anew_removes_the_parts_of_this_command_and_nothing_else(folder, model, tmp_path):
    files, _ = find_images(str(folder))
    output = tmp_path / "t.npz"
    parts = Path(f"{output}.parts")

    def die(count):
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_images(files, model, DecodeRules(model.side), ImageRun(4, 0, 4), str(output), die)
    (parts / "part-000000.npz").write_bytes(b"stale")
    (parts / "notes.txt").write_text("mine")
    table, _ = run_on(folder, model, output)
    assert len(table) == 12
    assert [file.name for file in parts.iterdir()] == ["notes.txt"]


def test_an_output_that_another_run_writes_is_refused_and_its_parts_stay(folder, model, tmp_path):
    output = tmp_path / "t.npz"
    second = []

    def start_another(count):
        if count and not second:
            with pytest.raises(InputError, match="must be one process's"):
                run_on(folder, model, output)
            second.append(count)

    files, _ = find_images(str(folder))
    rules = DecodeRules(model.side)
    table, _ = extract_images(files, model, rules, ImageRun(4, 0, 4), str(output), start_another)
    assert second and len(table) == 12


def test_a_damaged_part_is_refused_on_resume(folder, model, tmp_path):
    files, _ = find_images(str(folder))
    output = tmp_path / "t.npz"
    done = []

    def die(count):
        done.append(count)
        if sum(done) > 4:
            raise KeyboardInterrupt

    rules = DecodeRules(model.side, max_pixels=1_000_000)
    with pytest.raises(KeyboardInterrupt):
        extract_images(files, model, rules, ImageRun(4, 0, 4), str(output), die)
    Path(f"{output}.parts/part-000000.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="without --resume"):
        run_on(folder, model, output, resume=True)
