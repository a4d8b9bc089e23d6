"""Files that a command writes: whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vectorferry.connector._model._errors import StopError


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes this place at the end of a block that ends well; until then, what is there stays.

    Raises `StopError` where it cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    except OSError as error:
        raise StopError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
