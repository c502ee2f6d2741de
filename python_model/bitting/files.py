"""Files that are written whole or not at all, and folders for what can be made again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bitting.errors import BittingError, ToolError

#: Work folders of builds in the cache, and the age at which they are nobody's.
_WORK_PREFIX = ".build-"
_STALE_SECONDS = 24 * 3600


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


def built(kind: str, parts: Sequence[str], make: Callable[[Path, Path], None]) -> Path:
    """The cached folder of what `make` builds from `parts`; two processes may build the same.

    Args:
        kind: folder of the cache.
        parts: everything the result depends on; their hash is its name.
        make: called with (a work folder, the folder to leave results in) unless it was built before.

    Raises:
        ToolError: if a folder can not be written, and whatever `make` raises. Nothing is left behind then.
    """
    folder = cache_folder() / kind / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(folder.parent)
    work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=folder.parent))
    try:
        finished = work / "finished"
        finished.mkdir()
        make(work, finished)
        try:
            finished.rename(folder)
        except OSError:  # another process was faster with the same build
            if not folder.exists():
                raise
    except OSError as error:
        raise ToolError(f"can not build in {folder.parent}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _sweep(folder: Path) -> None:
    """Remove the work folders of builds that were killed: no build takes a day."""
    for left in folder.glob(f"{_WORK_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process is faster
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left)


def processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
