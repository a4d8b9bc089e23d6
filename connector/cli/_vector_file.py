"""A query vector from a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np

from vectorferry.connector._bounded_file import read_bounded
from vectorferry.connector._errors import ConfigurationError, QuarantineError
from vectorferry.connector._json import parse_json
from vectorferry.connector._records import Vector
from vectorferry.connector._vectors import decode_vector

__all__ = ["read_vector"]

MAX_BYTES: Final = 5_000_000
SHAPES: Final = 'a JSON list of numbers, {"indices": [...], "values": [...]}, or a one-dimensional .npy array'


def read_vector(path: Path) -> Vector:
    """The vector in a JSON or ``.npy`` file: dense float32 ``(dimension,)``, or sparse.

    Raises `ConfigurationError` when the file is missing, too large or holds anything else.
    """
    content = read_bounded(path, MAX_BYTES, "a file holds one vector")
    try:
        return decode_vector(_array(content) if path.suffix == ".npy" else parse_json(content))
    except QuarantineError as error:
        raise ConfigurationError(f"{path}: {error}; give {SHAPES}") from None
    except (ValueError, EOFError):
        raise ConfigurationError(f"{path}: cannot be decoded; give {SHAPES}") from None


def _array(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False).tolist()
