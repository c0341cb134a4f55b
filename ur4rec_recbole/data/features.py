"""Feature tables: one vector per token, with its provenance.

Stands between the extractors (which write tables) and the model (which reads them aligned to
RecBole's internal ids). A table is an .npz file without pickle:

    tokens      [R] str        RecBole's raw tokens (item or user ids as they stand in the data)
    vectors     [R, W] float   one row a token
    provenance  [] str         JSON: kind, encoder, encoder_version, source_sha256, split, ...
    lengths     [R] int        only in user-profile tables: interactions that the row has seen

Whatever else lies in the file is never unpacked. Vectors are stored without compression, which
would save a tenth, and are mapped from the file: a table may be larger than the memory.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ur4rec_recbole.core.errors import InputError, first_line
from ur4rec_recbole.core.files import atomic_write, parse_json
from ur4rec_recbole.data.archives import read_arrays

AT_ONCE = 2**14  # rows of a table that are worked on together
LONGEST = 2**31 - 1  # interactions of a profile
DEEPEST = 20  # lists and mappings inside one another in the provenance
PROVENANCE_KEYS = ("kind", "encoder", "encoder_version", "source_sha256", "split")
KIND = re.compile("item_[a-z][a-z0-9_]*|user_profile")  # item_text, item_image, item_audio


@dataclass(frozen=True)
class FeatureTable:
    """Vectors by token, checked on construction.

    Parameters
    ----------
    tokens
        [R] distinct tokens; in a user-profile table a token may recur with another length.
    vectors
        [R, W] finite floats, W >= 1.
    provenance
        At least the keys of `PROVENANCE_KEYS`; `split` is "none" where no interaction was read.
    lengths
        [R] positive integers for user profiles, otherwise None.
    """

    tokens: np.ndarray
    vectors: np.ndarray
    provenance: Mapping[str, object]
    lengths: np.ndarray | None = None
    name: str = field(default="feature table", compare=False)

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_keys(self)
        _check_finite(self)
        _check_provenance(self)

    @property
    def width(self) -> int:
        """Length of one vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to `path`, atomically; the same table gives the same bytes."""
        arrays = {
            "tokens": self.tokens,
            "vectors": self.vectors,
            "provenance": np.array(json.dumps(dict(self.provenance), sort_keys=True)),
        }
        if self.lengths is not None:
            arrays["lengths"] = self.lengths
        with (
            atomic_write(path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for key, array in arrays.items():
                # A fixed date keeps the file reproducible; np.savez would write today's.
                entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                packed = zipfile.ZIP_STORED if key == "vectors" else zipfile.ZIP_DEFLATED
                entry.compress_type = packed
                rows = np.asarray(array, order="C")
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, rows, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FeatureTable":
        """Read a table, never unpickling. Raises `InputError` for anything but a sound table."""
        name = str(path)
        arrays = read_arrays(path, ("tokens", "vectors", "provenance"), ("lengths",))
        try:
            provenance = parse_json(str(arrays["provenance"][()]))
            tokens = arrays["tokens"].astype(str)
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(
                name, "must have texts as tokens and JSON as provenance",
                first_line(error), "Make it again with `ur4rec extract`.",
            ) from error  # fmt: skip
        return cls(tokens, arrays["vectors"], provenance, arrays.get("lengths"), name)

    def content_sha256(self) -> str:
        """Return the SHA-256 of tokens, vectors and lengths as they are, row by row."""
        digest = hashlib.sha256(json.dumps(self.tokens.tolist()).encode())
        for array in (self.vectors, self.lengths):
            if array is not None:
                little = array.dtype.newbyteorder("<")
                digest.update(f"{little.str} {array.shape}".encode())
                for rows in pieces(len(array)):
                    digest.update(array[rows].astype(little, copy=False).tobytes())
        return digest.hexdigest()

    def align(
        self, id_to_token: Sequence[str], allow_unknown: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bring the rows into the order of RecBole's internal ids.

        Parameters
        ----------
        id_to_token
            [N] tokens by internal id, as `dataset.field2id_token[field]`; id 0 is padding.
        allow_unknown
            Whether rows of tokens outside the data set are left out instead of refused.

        Returns
        -------
        vectors
            [N, W] float32, zeros where there is no row.
        present
            [N] bool, True where the table has a row. Id 0 is never present.
        """
        rows = token_rows(self, id_to_token, allow_unknown)
        known = rows > 0
        vectors = np.zeros((len(id_to_token), self.width), dtype=np.float32)
        present = np.zeros(len(id_to_token), dtype=bool)
        for piece in pieces(len(rows)):
            chosen = known[piece]
            vectors[rows[piece][chosen]] = self.vectors[piece][chosen]
        present[rows[known]] = True
        return vectors, present


def pieces(number: int) -> Iterator[slice]:
    """Cut `number` rows into slices, so that what is computed of them never stands whole."""
    return (slice(start, start + AT_ONCE) for start in range(0, number, AT_ONCE))


def token_rows(
    table: FeatureTable, id_to_token: Sequence[str], allow_unknown: bool = False
) -> np.ndarray:
    """Return [R] the internal id of every row of the table, 0 for an unknown token."""
    ids = {str(token): index for index, token in enumerate(id_to_token) if index > 0}
    rows = np.array([ids.get(token, 0) for token in table.tokens], dtype=np.int64)
    unknown = table.tokens[rows == 0]
    if len(unknown) and not allow_unknown:
        raise InputError(
            f"{table.name}: every token",
            "must occur in the data set",
            f"{len(unknown)} unknown tokens, such as {unknown[:5].tolist()}",
            "Use the table made for this data set, or set allow_unknown_tokens: true where "
            "filters drop items that the table still holds.",
        )
    return rows


def _check_shapes(table: FeatureTable) -> None:
    tokens, vectors, lengths = table.tokens, table.vectors, table.lengths
    sound = (
        tokens.ndim == 1
        and vectors.ndim == 2
        and len(tokens) == len(vectors)
        and vectors.shape[1] > 0
        and np.issubdtype(vectors.dtype, np.floating)
        and (lengths is None or lengths.shape == tokens.shape)
        and (lengths is None or np.issubdtype(lengths.dtype, np.integer))
    )
    if not sound:
        shape = None if lengths is None else lengths.shape
        raise InputError(
            f"{table.name}: arrays",
            "must be tokens [R], float vectors [R, W] and, for profiles, integer lengths [R]",
            f"tokens {tokens.shape}, vectors {vectors.shape} {vectors.dtype}, lengths {shape}",
            "Make the table again with `ur4rec extract`.",
        )


def _check_keys(table: FeatureTable) -> None:
    if table.lengths is None:
        keys = table.tokens
    else:
        ends = [int(table.lengths.min()), int(table.lengths.max())] if len(table) else [1, 1]
        if ends[0] < 1 or ends[1] > LONGEST:
            raise InputError(
                f"{table.name}: lengths", f"must be at least 1 and at most {LONGEST}",
                f"{ends[0]} to {ends[1]}",
                "A length counts the interactions that a profile is written from.",
            )  # fmt: skip
        keys = np.char.add(np.char.add(table.tokens, " after "), table.lengths.astype(str))
    distinct, counts = np.unique(keys, return_counts=True)
    repeated = distinct[counts > 1]
    if len(repeated):
        raise InputError(
            f"{table.name}: tokens", "must be distinct",
            f"{len(repeated)} repeated, such as {repeated[:5].tolist()}",
            "Keep one row for each token.",
        )  # fmt: skip


def _check_finite(table: FeatureTable) -> None:
    finite = np.ones(len(table), dtype=bool)
    with np.errstate(over="ignore"):
        for rows in pieces(len(table)):
            finite[rows] = np.isfinite(table.vectors[rows].astype(np.float32)).all(axis=1)
    if not finite.all():
        bad = table.tokens[~finite]
        raise InputError(
            f"{table.name}: vectors", "must be finite in float32",
            f"NaN or infinity in {len(bad)} rows, such as token {bad[:5].tolist()}",
            "Leave such rows out: a missing row is masked.",
        )  # fmt: skip


def _check_provenance(table: FeatureTable) -> None:
    given = table.provenance if isinstance(table.provenance, Mapping) else {}
    missing = [key for key in PROVENANCE_KEYS if key not in given]
    kind = given.get("kind")
    if not _flat(given, DEEPEST):
        raise InputError(
            f"{table.name}: provenance", f"must be nested at most {DEEPEST} deep", "a deeper one",
            "Make the table again with `ur4rec extract`.",
        )  # fmt: skip
    known = isinstance(kind, str) and KIND.fullmatch(kind)
    if missing or not known or (kind == "user_profile") != (table.lengths is not None):
        raise InputError(
            f"{table.name}: provenance",
            f"must have {list(PROVENANCE_KEYS)}, a kind item_MODALITY or user_profile, "
            "and lengths exactly for user profiles",
            f"missing {missing}, kind {kind!r}, lengths: {table.lengths is not None}",
            "Make the table again with `ur4rec extract`.",
        )


def _flat(value: object, levels: int) -> bool:
    """Tell whether lists and mappings in a value are nested at most `levels` deep."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_flat(each, levels - 1) for each in value)
