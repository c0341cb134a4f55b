"""A toy data set, tiny models that the tests save themselves, and a real endpoint."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from string import ascii_letters

import numpy as np
import pytest

USERS, ITEMS = 8, 14
GENRES = ("Comedy", "Drama", "Sci-Fi")


def write_toy(folder: Path, title: str = "Film") -> Path:
    """Write a data set in which user u meets item (u + step) at a time of its own."""
    home = folder / "toy"
    home.mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(1, USERS + 1):
        for step in range(7):
            item = (user + step) % ITEMS + 1
            lines.append(f"u{user}\ti{item}\t{1 + (user * step) % 5}\t{1000 * user + step}")
    (home / "toy.inter").write_text("\n".join(lines) + "\n")
    items = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    for item in range(1, ITEMS + 1):
        genres = f"{GENRES[item % 3]} {GENRES[(item + 1) % 3]}"
        items.append(f"i{item}\t{title} {item}\t{1980 + item}\t{genres}")
    (home / "toy.item").write_text("\n".join(items) + "\n")
    config = folder / "toy.yaml"
    config.write_text(
        "load_col: {inter: [user_id, item_id, rating, timestamp]}\n"
        "USER_ID_FIELD: user_id\nITEM_ID_FIELD: item_id\n"
        "RATING_FIELD: rating\nTIME_FIELD: timestamp\n"
        "eval_args: {split: {LS: valid_and_test}, order: TO, group_by: user, mode: full}\n"
    )
    return config


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    config = write_toy(folder)
    return ["--dataset", "toy", "--data-path", str(folder), "--config", str(config)]


@pytest.fixture(scope="session")
def toy_dataset(toy):
    from ur4rec_recbole.data.items import load_dataset

    return load_dataset("toy", [toy[5]], {"data_path": toy[3]})


class LengthEncoder:
    """A text encoder that needs no library: counts of letters."""

    name, version = "letters", "1"

    def encode(self, texts):
        rows = [[text.count(letter) for letter in "abcdefghijklmnop1234567890"] for text in texts]
        return np.array(rows, dtype=np.float32) + 0.5


@pytest.fixture
def letters():
    return LengthEncoder()


CLIP_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Save a small open_clip model as a folder; returns its name for --encoder."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    configs = folder / "configs"
    configs.mkdir()
    (configs / "tiny-test.json").write_text(json.dumps(CLIP_CONFIG))
    open_clip.add_model_config(configs)
    model = open_clip.create_model("tiny-test")
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    torch.save(weights, folder / "weights.pt")
    card = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory):
    """Save a random language model of 16 dimensions whose every token is a letter."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llm")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate([*alphabet, "<eos>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    end = vocabulary["<eos>"]
    settings = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=4096, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    model = LlamaForCausalLM(settings)
    spoken = {place for letter, place in vocabulary.items() if letter in ascii_letters}
    silent = [place for place in vocabulary.values() if place not in spoken]
    with torch.no_grad():
        model.lm_head.weight[silent] = 0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def endpoint(tiny_llm, tmp_path_factory):
    """Start `transformers serve`, an OpenAI-compatible server of its own, on loopback."""
    port = free_port()
    log = tmp_path_factory.mktemp("serve") / "log"
    command = Path(sys.executable).with_name("transformers")
    words = [str(command), "serve", str(tiny_llm), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen([*words, "--device", "cpu"], stdout=out, stderr=out)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}", str(tiny_llm)
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def proxy(endpoint, tmp_path):
    """Put a fault-injecting proxy process before the endpoint; start it with a list of faults."""
    running = []

    def start(*faults, delay=0.0):
        port = free_port()
        log = tmp_path / f"proxy-{port}.jsonl"
        script = Path(__file__).with_name("fault_proxy.py")
        words = [str(port), endpoint[0], str(log), str(delay), *faults]
        process = subprocess.Popen([sys.executable, str(script), *words])
        running.append(process)
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        return f"http://127.0.0.1:{port}/v1", endpoint[1], log

    yield start
    for process in running:
        process.kill()
        process.wait()


def events(log: Path) -> list[dict]:
    """Read what the proxy did: one record a request."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines()]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    raise RuntimeError(f"no server: {log.read_text() if log.exists() else ''}")
