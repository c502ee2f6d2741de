"""Files that are written whole or not at all, and folders for what can be made again."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bitting.errors import BittingError


def cache_folder() -> Path:
    """`BITTING_CACHE`, or `~/.cache/bitting`; private to the user, for builds of keyed devices hold their bitting table."""
    folder = Path(os.environ.get("BITTING_CACHE") or Path.home() / ".cache" / "bitting")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it does not.

    Raises:
        BittingError: if the file can not be written (missing folder, no permission, full disk).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError as error:
        raise BittingError(f"can not write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole file or leave the old one."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole text file or leave the old one."""
    write_bytes(path, text.encode(), mode)
