"""Lets RecBole load checkpoints: `torch.load` unpickles the file that a call names while it runs.

Since torch 2.6 `torch.load` refuses by default RecBole's checkpoints, which hold its Config object
(RecBole issues #2212 and #2215). Three of RecBole's functions, and the models that start from a
pretrained file, read a file that the user has named or that the same run has written. Each is
wrapped so that `torch.load` unpickles that file, in that thread, until the call returns; every
other call in the process keeps torch's safe default.

Trainer.evaluate, Trainer.resume_checkpoint   wrapped
quick_start.load_data_and_model               changed in place: programs bind its name before they
                                              import this package
__init__ of the models in PRETRAINED          wrapped
"""

import functools
import importlib
import inspect
import os
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Models that read a file of weights when they are made, and the configuration keys that name it.
PRETRAINED = {
    "general_recommender.convncf.ConvNCF": ("pre_model_path",),
    "general_recommender.nais.NAIS": ("pretrain_path",),
    "general_recommender.neumf.NeuMF": ("mf_pretrain_path", "mlp_pretrain_path"),
    "general_recommender.ract.RaCT": ("pre_model_path",),
    "context_aware_recommender.kd_dagfm.KD_DAGFM": ("warm_up",),
    "sequential_recommender.s3rec.S3Rec": ("pre_model_path",),
}
_lock = threading.Lock()
_named: list[tuple[int, str]] = []  # thread and file of every call that is running
_safe_load: Callable[..., Any] = torch.load


@contextmanager
def unpickling(*files: Any) -> Iterator[None]:
    """Let `torch.load` unpickle these files, if they are names, where it is not told otherwise."""
    mine = [(threading.get_ident(), _absolute(file)) for file in files if _is_name(file)]
    global _safe_load
    with _lock:
        if not _named and mine:
            _safe_load, torch.load = torch.load, _load
        _named.extend(mine)
    try:
        yield
    finally:
        with _lock:
            for each in mine:
                _named.remove(each)
            if not _named and mine:
                torch.load = _safe_load


def _load(f: Any, *args: Any, **kwargs: Any) -> Any:
    if _is_name(f) and (threading.get_ident(), _absolute(f)) in _named:
        kwargs.setdefault("weights_only", False)
    return _safe_load(f, *args, **kwargs)


def _is_name(file: Any) -> bool:
    return isinstance(file, str | os.PathLike) and bool(os.fspath(file))


def _absolute(file: Any) -> str:
    return os.path.abspath(os.fspath(file))


def apply() -> None:
    """Wrap RecBole's callers; a second call, an old torch or a newer RecBole change nothing."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    trainer = importlib.import_module("recbole.trainer.trainer")
    if version < (2, 6) or hasattr(trainer.Trainer.evaluate, "unpickles"):
        return
    if "weights_only" in inspect.getsource(trainer):
        return  # a RecBole that no longer needs it
    _wrap(trainer.Trainer, "evaluate", _best_model)
    _wrap(trainer.Trainer, "resume_checkpoint", lambda trainer, resume_file: [resume_file])
    for place, keys in PRETRAINED.items():
        module, name = place.rsplit(".", 1)
        model = getattr(importlib.import_module(f"recbole.model.{module}"), name)
        _wrap(model, "__init__", functools.partial(_configured, keys))
    _load_data_and_model_in_place()


def _wrap(owner: type, name: str, files: Callable[..., list[Any]]) -> None:
    """Let a method unpickle what `files` finds in its arguments."""
    original = getattr(owner, name)
    signature = inspect.signature(original)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).args
        except TypeError:
            return original(*args, **kwargs)  # the original call says what is wrong
        with unpickling(*files(*given)):
            return original(*args, **kwargs)

    wrapper.unpickles = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapper)


def _best_model(
    trainer: Any, eval_data: Any, load_best_model: bool = True, model_file: Any = None, *_: Any
) -> list[Any]:
    return [model_file or trainer.saved_model_file] if load_best_model else []


def _configured(keys: tuple[str, ...], model: Any, config: Any, *_: Any) -> list[Any]:
    return [config[key] for key in keys]


def _load_data_and_model_in_place() -> None:
    found: Any = importlib.import_module("recbole.quick_start.quick_start")
    function = found.load_data_and_model
    original = types.FunctionType(function.__code__, function.__globals__, function.__name__)

    def load(model_file: Any) -> Any:
        with unpickling(model_file):
            return original(model_file)

    found._load_data_and_model_unpickling = load
    function.__code__ = _through_module.__code__


def _through_module(model_file):  # type: ignore[no-untyped-def]  # noqa: D103
    return _load_data_and_model_unpickling(model_file)  # noqa: F821
