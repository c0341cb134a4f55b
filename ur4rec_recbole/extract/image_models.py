"""Image encoders by name: any open_clip model and tag, or a timm model with a local file.

`image_model(name, pretrained)` is what `ur4rec extract image` calls. Weights files are read without
unpickling code: safetensors, or .pt with weights_only.
"""

import contextlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ur4rec_recbole.core.errors import InputError, first_line, needs
from ur4rec_recbole.extract.devices import torch_device
from ur4rec_recbole.extract.fingerprints import weights_hash

DEFAULT_IMAGE_ENCODER = "open_clip:ViT-B-32/openai"
IMAGE_ENCODERS = "open_clip:MODEL/TAG, open_clip:local-dir:FOLDER, timm:MODEL"
PRECISIONS = ("fp32", "bf16")


@dataclass
class ImageModel:
    """A loaded image encoder.

    Parameters
    ----------
    name
        As the user gave it, without the path of a local folder.
    version
        Hash of the weights, the library and its version.
    model
        The torch module.
    preprocess
        PIL image in RGB -> float tensor [3, H, W]; runs in worker processes.
    embed
        Tensor [B, 3, H, W] -> tensor [B, W].
    side
        Pixels of the shorter side after resizing.
    tokenizer
        Makes the text side's tokenizer, where there is one.
    device
        Where the module lies.
    """

    name: str
    version: str
    model: Any
    preprocess: Callable[[Any], Any]
    embed: Callable[[Any], Any]
    side: int
    tokenizer: Callable[[], Any]
    device: str = "cpu"

    def encode(self, images: Any, precision: str = "fp32") -> np.ndarray:
        """Return [B, W] float32 unit vectors of a batch [B, 3, H, W]."""
        import torch

        autocast = (
            torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16)
            if precision == "bf16"
            else contextlib.nullcontext()
        )
        with torch.inference_mode(), autocast:
            vectors = self.embed(images.to(self.device)).float()
        return torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()


def image_model(name: str, pretrained: str | None = None, device: str = "auto") -> ImageModel:
    """Load `open_clip:MODEL/TAG`, `open_clip:MODEL` with local weights, or `timm:NAME`.

    Parameters
    ----------
    name
        As in the summary; `open_clip:hf-hub:...` and `open_clip:local-dir:...` too.
    pretrained
        Local weights.
    device
        As torch names it; "auto" is the GPU where there is one.
    """
    library, _, rest = name.partition(":")
    loaders = {"open_clip": open_clip_model, "timm": timm_model}
    if library not in loaders or not rest:
        raise InputError(
            "--encoder", "must be open_clip:MODEL/TAG, open_clip:MODEL or timm:NAME", name,
            f"Write for instance {DEFAULT_IMAGE_ENCODER}.",
        )  # fmt: skip
    return loaders[library](rest, pretrained, device)


def open_clip_model(spec: str, pretrained: str | None, device: str) -> ImageModel:
    """Load an open_clip model: `MODEL/TAG`, `MODEL` with a local file, `hf-hub:`, `local-dir:`."""
    with needs("open_clip", "for this encoder", "extract"):
        import open_clip
    schema = spec.startswith(("hf-hub:", "local-dir:"))
    model_name, _, tag = (spec, "", "") if schema else spec.partition("/")
    _check_open_clip(open_clip, spec, model_name, tag, pretrained, schema)
    place = torch_device(device)
    try:
        if pretrained:  # its own are left out
            model, _, preprocess = open_clip.create_model_and_transforms(model_name)
        else:  # raises where it finds no weights, instead of keeping random ones
            model, preprocess = open_clip.create_model_from_pretrained(model_name, tag or None)
    except Exception as error:  # the hub clients raise many kinds
        raise InputError(
            f"encoder open_clip:{spec}", "must load with its weights from its hub or folder",
            first_line(error),
            "Check the network and the folder, or give the weights with --pretrained FILE.",
        ) from error  # fmt: skip
    if pretrained:
        _load(model, pretrained, allowed_extra=())
    label = "local-dir" if spec.startswith("local-dir:") else spec
    return ImageModel(
        name=f"open_clip:{label}",
        version=_version(model, "open_clip_torch", pretrained),
        model=model.eval().to(place),
        preprocess=preprocess,
        embed=model.encode_image,
        side=_side(model.visual.image_size),
        tokenizer=lambda: open_clip.get_tokenizer(model_name),
        device=place,
    )


def timm_model(name: str, pretrained: str | None, device: str) -> ImageModel:
    """Load a timm model without its classifier; pooled features are the vector."""
    with needs("timm", "for this encoder", "extract"):
        import timm
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:8]}*")[:5]
        raise InputError(
            f"encoder timm:{name}", "must be a timm model", name, f"Near names: {near}."
        )
    place = torch_device(device)
    try:
        model = timm.create_model(name, pretrained=pretrained is None, num_classes=0)
    except Exception as error:  # the hub clients raise many kinds
        raise InputError(
            f"encoder timm:{name}", "must load from its hub",
            first_line(error),
            "Give the weights with --pretrained FILE.",
        ) from error  # fmt: skip
    if pretrained:
        card: Any = model.pretrained_cfg
        heads = card.get("classifier") or ()
        _load(model, pretrained, (heads,) if isinstance(heads, str) else tuple(heads))
    settings = timm.data.resolve_model_data_config(model)
    return ImageModel(
        name=f"timm:{name}",
        version=_version(model, "timm", pretrained),
        model=model.eval().to(place),
        preprocess=timm.data.create_transform(**settings, is_training=False),
        embed=model,
        side=int(settings["input_size"][-1]),
        tokenizer=lambda: None,
        device=place,
    )


def _check_open_clip(
    library: Any, spec: str, model: str, tag: str, pretrained: str | None, schema: bool
) -> None:
    """Refuse names that open_clip does not know, and a model that would keep random weights."""
    if not schema and model not in library.list_models():
        raise InputError(
            f"encoder open_clip:{spec}", "must name an open_clip model", model,
            f"One of {library.list_models()[:4]} ... as `open_clip.list_models()` tells.",
        )  # fmt: skip
    tags = [] if schema else library.list_pretrained_tags_by_model(model)
    if tag and tag not in tags:
        raise InputError(
            f"encoder open_clip:{spec}", f"must name a tag of {model}: {tags}", tag,
            "Name one of these, or give a local file with --pretrained.",
        )  # fmt: skip
    if not tag and not pretrained and not schema:
        raise InputError(
            f"encoder open_clip:{spec}", "must have weights", "neither a tag nor --pretrained",
            f"Write open_clip:{model}/TAG with one of {tags}, or give --pretrained FILE.",
        )  # fmt: skip


def _load(model: Any, file: str, allowed_extra: tuple[str, ...]) -> None:
    """Load weights strictly; only keys below `allowed_extra` (a classifier) may be left over."""
    state = _state(file)
    expected = model.state_dict()
    missing = [key for key in expected if key not in state and "position_ids" not in key]
    extra = [key for key in state if key not in expected and not _below(key, allowed_extra)]
    wrong = [
        key for key in state if key in expected and state[key].shape != expected[key].shape
    ]  # fmt: skip
    # attn_mask is a buffer that old CLIP files carry and new models rebuild.
    extra = [key for key in extra if not key.endswith(("attn_mask", "position_ids"))]
    if missing or extra or wrong:
        raise InputError(
            f"weights {Path(file).name!r}", "must fit the model",
            f"{len(missing)} weights missing {missing[:3]}, {len(extra)} unknown {extra[:3]}, "
            f"{len(wrong)} of another shape {wrong[:3]}",
            "Check that --encoder names the model of this file.",
        )  # fmt: skip
    model.load_state_dict({k: v for k, v in state.items() if k in expected}, strict=False)


def _state(file: str) -> dict[str, Any]:
    """Read a state dict from safetensors or .pt, never running code from it."""
    import torch
    from safetensors.torch import load_file

    path = Path(file)
    if not path.is_file():
        raise InputError("--pretrained", "must be a file", path.name, "Check the path.")
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling, zip and header errors are all the user's file
        raise InputError(
            f"weights {path.name!r}",
            "must be .safetensors, or a .pt state dict that loads with weights_only",
            first_line(error),
            "Save the state dict with safetensors.torch.save_file.",
        ) from error
    for wrapper in ("state_dict", "model"):  # training checkpoints hold more than the weights
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    sound = isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    )
    if not sound:
        raise InputError(
            f"weights {path.name!r}", "must be a state dict: tensors by name",
            "other things in it" if isinstance(state, dict) else f"a {type(state).__name__}",
            "Save what `model.state_dict()` returns.",
        )  # fmt: skip
    return {key.removeprefix("module."): value for key, value in state.items()}


def _below(key: str, parts: tuple[str, ...]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def _version(model: Any, package: str, pretrained: str | None) -> str:
    source = f"file {Path(pretrained).name}" if pretrained else "hub or folder"
    version = importlib.metadata.version(package)
    return f"{weights_hash(model)}; {source}; {package} {version}"


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else min(size))
