"""Makes every error in a data set an `InputError`, however RecBole comes to load it.

Four of RecBole's methods and one name are wrapped; none is copied:

Dataset._from_scratch, Dataset.build
    The folder and the filters are looked at first, and what a checkpoint knows of its data and
    tables. What RecBole or pandas raise while they load, filter and split becomes one message.
Dataset._filter_inter_by_user_or_item
    What it leaves out is told.
Dataset._load_feat
    Columns are compared with the configuration first, and get their types from us afterwards.
pandas.read_csv, as RecBole's module sees it
    Reads cells as `atomic_files` does: as RecBole calls it, pandas takes a quote as the start of a
    cell of many lines, and NA, null and None as missing values.
"""

import functools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import recbole
from recbole.data.dataset import Dataset
from recbole.data.dataset import dataset as recboles_module
from recbole.utils import EvaluatorType, FeatureSource

from ur4rec_recbole.core.command_line import INTERVALS
from ur4rec_recbole.core.errors import InputError, nearest
from ur4rec_recbole.core.yaml_files import read_mapping
from ur4rec_recbole.data.atomic_files import read_cells, read_header
from ur4rec_recbole.data.columns import check_columns, set_types
from ur4rec_recbole.data.dataset import sort_exactly
from ur4rec_recbole.data.fingerprints import INPUTS, check_inputs, data_fingerprint, inputs
from ur4rec_recbole.data.time_split import splits_at_moments
from ur4rec_recbole.data.times import LIMITS, digits_of_dates

ALL = "[0,inf)"  # RecBole's default of both intervals
INTERVAL = re.compile(r"\s*[\[(]\s*([^\s,]+)\s*,\s*([^\s,]+)\s*[\])]\s*")
OF_ROWS = (*INTERVALS, "val_interval", "rm_dup_inter")
FILTERS = (*OF_ROWS, "filter_inter_by_user_or_item")


def apply() -> None:
    """Wrap the methods; a second call changes nothing."""
    if isinstance(recboles_module.pd, _Pandas):
        return
    recboles_module.pd = _Pandas("pandas")
    Dataset._from_scratch = _checking(Dataset._from_scratch)
    Dataset._load_feat = _typed(Dataset._load_feat)
    Dataset.build = _split(Dataset.build)
    Dataset._filter_inter_by_user_or_item = _told(Dataset._filter_inter_by_user_or_item)


@contextmanager
def translated(config: Any) -> Iterator[None]:
    """Turn whatever loading a data set raises into an `InputError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # RecBole's pandas calls, thousands
            yield
    except InputError:
        raise
    except Exception as error:
        getLogger().debug("While a data set was loaded:", exc_info=True)
        given = config.external_config_dict
        used = [f"{key}: {given[key]}" for key in FILTERS if key in given]
        raise InputError(
            f"Data set {config['dataset']!r}", "must be one that can be loaded, filtered and split",
            f"{type(error).__name__}: {error}"[:500],
            f"Check its files{' and the filters ' if used else ''}{'; '.join(used)}.",
        ) from error  # fmt: skip


def check_parts(config: Any, parts: Sequence[Dataset]) -> None:
    """Raise `InputError` where a part that the split asks for is empty, or topk exceeds the items.

    Parameters
    ----------
    config
        The run's configuration.
    parts
        The training, validation and test data sets.
    """
    [(kind, how)] = config["eval_args"]["split"].items()
    wanted = how if kind != "LS" else [1, how != "test_only", how != "valid_only"]
    wanted = [1, 1, 1] if splits_at_moments(config["eval_args"]) else wanted
    for name, share, part in zip(("training", "validation", "test"), wanted, parts, strict=False):
        if share and not len(part.inter_feat):
            _refuse_empty(config, name)
    items = parts[0].item_num - 1
    if config["eval_type"] == EvaluatorType.RANKING and max(config["topk"]) > items:
        raise InputError(
            "Configuration key 'topk'", f"must not exceed the number of items, {items}",
            config["topk"], "Lower it.",
        )  # fmt: skip


class _Pandas(ModuleType):
    """Stand for pandas in RecBole's module."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pd, name)

    @staticmethod
    def read_csv(
        path: str, delimiter: str, usecols: Sequence[str], encoding: str, **_: Any
    ) -> pd.DataFrame:
        wanted = [column.partition(":")[0] for column in usecols]
        return read_cells(Path(path), delimiter, encoding, wanted)


def _checking(from_scratch: Callable) -> Callable:
    @functools.wraps(from_scratch)
    def checked(self: Dataset) -> None:
        with translated(self.config):
            _check_filters(self.config)
            check_files(self.config)
            from_scratch(self)

    return checked


def _split(build: Callable) -> Callable:
    @functools.wraps(build)
    def built(self: Dataset) -> list[Dataset]:
        with translated(self.config):
            _check_inputs(self)
            parts = build(self)
        if not len(parts[0].inter_feat):
            _refuse_empty(self.config, "training")
        return parts

    return built


def _check_inputs(dataset: Dataset) -> None:
    """Raise `InputError` where a checkpoint's configuration tells of other data or tables.

    So RecBole's `load_data_and_model` finds out. Runs of ours compare them by themselves.
    """
    config = dataset.config
    if config[INPUTS] and not hasattr(dataset, "fingerprint"):
        now = inputs(config, data_fingerprint(sort_exactly(dataset)))
        check_inputs(
            f"Model {config['model']} of data set {config['dataset']}", config[INPUTS], now
        )


def _refuse_empty(config: Any, part: str) -> None:
    raise InputError(
        f"Data set {config['dataset']!r}: the {part} part", "must have a target",
        f"none with the split {config['eval_args']['split']}",
        "A user's first interaction is no target and leave-one-out keeps the last two: use users "
        "with four and more, or another split.",
    )  # fmt: skip


def _check_filters(config: Any) -> None:
    """Raise `InputError` for filter intervals that RecBole would ignore with a warning."""
    values = config["val_interval"] or {}
    if not isinstance(values, Mapping):
        values = {"": values}
    given = {key: config[key] for key in INTERVALS if config[key] is not None}
    given |= {
        f"val_interval: {key}": each for key, each in values.items() if type(each) is not list
    }
    used = [key for key in OF_ROWS if config[key] not in (None, False, {}, ALL)]
    if used and config["benchmark_filename"] is not None:
        raise InputError(
            ", ".join(used), "must be unset with benchmark_filename: split files are not filtered",
            config[used[0]], "Filter the interactions before the files are written.",
        )  # fmt: skip
    for key, text in given.items():
        pairs = [INTERVAL.fullmatch(each) for each in str(text).split(";")]
        try:
            sound = all(pair and float(pair[1]) <= float(pair[2]) for pair in pairs)
        except ValueError:
            sound = False
        if not sound:
            raise InputError(
                f"Configuration key {key!r}", "must be an interval", repr(text),
                'Write for example "[5,inf)".',
            )  # fmt: skip
        if key == f"val_interval: {config['TIME_FIELD']}":
            if any(_is_no_second(each) for pair in pairs if pair for each in pair.groups()):
                raise InputError(
                    f"Configuration key {key!r}", "must be in seconds since 1970, as times are",
                    repr(text), "Write for example [1577836800,inf) for all from 2020 on.",
                )  # fmt: skip


def _is_no_second(bound: str) -> bool:
    """Tell whether a bound of times is in a smaller unit, or a date of digits alone."""
    return (
        LIMITS[0] <= abs(float(bound)) < math.inf or digits_of_dates(pd.Series([bound])) is not None
    )


def check_files(config: Any) -> None:
    """Raise `InputError` where there is no such data set and RecBole has none to download."""
    name, folder = config["dataset"], Path(config["data_path"])
    downloads = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
    if not folder.is_dir():
        offered = {"ml-100k", *read_mapping(downloads, "RecBole's list of data sets")}
        if name in offered:
            return
        beside = (
            {each.name for each in folder.parent.glob("*/")} if folder.parent.is_dir() else set()
        )
        raise InputError(
            f"Data set {name!r}", "must be a folder below data_path",
            f"none of that name in {folder.parent}, which holds {sorted(beside)[:10]}",
            nearest(name, beside | offered)
            or "Set data_path to where it lies, or make it with `ur4rec convert`.",
        )  # fmt: skip
    _check_suffixes(config, folder)
    file = folder / f"{name}.inter"
    if config["benchmark_filename"] is None and not file.is_file():
        found = sorted(each.name for each in folder.iterdir())
        raise InputError(
            f"Data set {name!r}", f"must have its interactions in {file}", f"{found[:10]} there",
            nearest(file.name, found) or "Name the file as its folder.",
        )  # fmt: skip


def _check_suffixes(config: Any, folder: Path) -> None:
    """Raise `InputError` where load_col names a file that RecBole would do without, unasked."""
    listed = config["load_col"]
    if not isinstance(listed, Mapping) or "inter" not in listed:
        return
    more = config["additional_feat_suffix"] or []
    known = {"inter", "user", "item", "kg", "link", "net", *([more] if type(more) is str else more)}
    for suffix in listed:
        file = folder / f"{config['dataset']}.{suffix}"
        if suffix not in known or (suffix in ("user", "item") and not file.is_file()):
            raise InputError(
                f"Configuration key 'load_col': {suffix!r}",
                f"must be the ending of a file of {config['dataset']}", "no such file",
                ("" if suffix in known else nearest(suffix, known))
                or "Leave it out, or add the file.",
            )  # fmt: skip


def _told(keep: Callable) -> Callable:
    @functools.wraps(keep)
    def kept(self: Dataset) -> None:
        before = len(self.inter_feat)
        keep(self)
        if len(self.inter_feat) < before:
            getLogger().warning(
                f"{before - len(self.inter_feat)} of {before} interactions are left out, whose "
                f"user or item is not in the .user or .item file of {self.dataset_name}. "
                "filter_inter_by_user_or_item: False keeps them."
            )

    return kept


def _typed(load: Callable) -> Callable:
    @functools.wraps(load)
    def load_typed(self: Dataset, filepath: str, source: Any) -> pd.DataFrame | None:
        suffix = source.value if isinstance(source, FeatureSource) else source
        path, config = Path(filepath), self.config
        listed = config["load_col"]
        if suffix != "inter" and isinstance(listed, Mapping) and suffix not in listed:
            return load(self, filepath, source)  # which reads nothing
        header = read_header(path, config["field_separator"], config["encoding"])
        check_columns(self, path.name, suffix, header)
        frame = load(self, filepath, source)
        if frame is not None:
            set_types(self, frame, header, path.name, suffix)
        return frame

    return load_typed
