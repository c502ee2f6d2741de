"""Files that are written whole or not at all, and folders for what can be made again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bitting.errors import BittingError, CacheError, ToolError

#: Work folders of builds in the cache, and the age at which they are nobody's.
_WORK_PREFIX = ".build-"
_STALE_SECONDS = 24 * 3600

#: Of files that hold a secret.
PRIVATE = 0o600
_OTHERS_WRITE = 0o022
_OTHERS = 0o077


def cache_folder() -> Path:
    """`BITTING_CACHE`, or `~/.cache/bitting`; the user's own, for libraries from it run in this process.

    Raises:
        CacheError: if it is another user's, or others may write to it.
        ToolError: if it can not be made.
    """
    folder = Path(os.environ.get("BITTING_CACHE") or Path.home() / ".cache" / "bitting")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ToolError(f"can not make {folder}: {error.strerror or error}; name another folder with BITTING_CACHE") from error
    _require_own(folder)
    return folder


def _require_own(*paths: Path) -> None:
    """Raises CacheError if anybody else could have written to these, whose folders were looked at before."""
    for path in paths:
        status = path.stat()
        if status.st_uid != os.getuid():
            raise CacheError(
                f"{path} belongs to user {status.st_uid}, who could have this process run anything; allowed is only what is "
                f"your own (user {os.getuid()}): remove it, or name another folder with BITTING_CACHE"
            )
        if status.st_mode & _OTHERS_WRITE:
            raise CacheError(
                f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, so others could have this process run anything; allowed "
                f"is writing by nobody but you: remove it, or, if you trust all that is in it, chmod -R go-w {path}"
            )


def open_to_others(path: Path) -> bool:
    """Whether anybody but its user may do anything with a file: one with a secret is not read then. Raises OSError."""
    return bool(path.stat().st_mode & _OTHERS)


def require_private(path: Path, why: str) -> None:
    """Raises BittingError if a file is another user's, or others may do anything with it; `why` nobody else may."""
    status = path.stat()
    if status.st_uid != os.getuid():
        raise BittingError(f"{path} belongs to user {status.st_uid}, and {why}; remove it, or give another --output")
    if status.st_mode & _OTHERS:
        raise BittingError(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, and {why}; allowed is 0600: remove it, or if it is yours and "
            f"nobody wrote to it, chmod 600 {path}"
        )


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that nobody else can look into, gone at the end: for builds that hold a root secret, which are never cached."""
    with tempfile.TemporaryDirectory(prefix="bitting-") as folder:  # mode 0700
        yield Path(folder)


@contextlib.contextmanager
def _for_nobody_else() -> Iterator[None]:
    """Files that are made inside, by this process or its children, get no rights for others."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary name, renamed to `path` when the block ends well and removed when it does not.

    It lies in a folder of mode 0700 beside `path`, and so does what a writer puts beside it: nobody else sees any of it before
    it has its mode.

    Raises:
        BittingError: if the file can not be written (missing folder, no permission, full disk).
    """
    folder: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary = folder / path.name
        temporary.touch(PRIVATE)
        yield temporary
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError as error:
        raise BittingError(f"can not write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole file or leave the old one."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole text file or leave the old one."""
    write_bytes(path, text.encode(), mode)


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a new folder whole or not at all.

    Args:
        folder: must not be there, or be empty.
        contents: path in the folder, with slashes -> bytes.

    Raises:
        BittingError: if there is something in it, or it can not be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            whole = Path(temporary) / folder.name
            for path, data in contents.items():
                (whole / path).parent.mkdir(parents=True, exist_ok=True)
                (whole / path).write_bytes(data)
            whole.rename(folder)  # also onto an empty folder
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            why = "is a file" if folder.is_file() else "is not empty"
            raise BittingError(
                f"{folder} {why}; allowed is a folder that is new or empty: name another, or move it away; nothing was changed"
            ) from None
        raise BittingError(f"can not write {folder}: {error.strerror or error}; nothing was changed") from error


def built(kind: str, parts: Sequence[str], make: Callable[[Path, Path], None], private: Path | None = None) -> Path:
    """The cached folder of what `make` builds from `parts`; two processes may build the same.

    Args:
        kind: folder of the cache.
        parts: everything the result depends on; their hash is its name.
        make: called with (a work folder, the folder to leave results in) unless it was built before.
        private: build in this folder instead of the cache (from `private_folder`), readable by nobody else. Everything that
            holds a root secret is built so.

    Raises:
        CacheError: if others could have written to what is in the cache.
        ToolError: if a folder can not be written, and whatever `make` raises. Nothing is left behind then.
    """
    folder = (private or cache_folder()) / kind / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_own(folder.parent)
    if folder.exists():
        _require_own(folder, *_inside(folder))
        return folder
    _sweep(folder.parent)
    work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=folder.parent))
    try:
        finished = work / "finished"
        finished.mkdir(mode=0o700)
        with _for_nobody_else() if private else contextlib.nullcontext():
            make(work, finished)
        for path in _inside(finished):  # the tools go by the user's umask
            path.chmod(path.stat().st_mode & ~_OTHERS_WRITE)
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


def _inside(folder: Path) -> list[Path]:
    """Everything in a build; links are the user's own, since the folder is."""
    return [path for path in folder.rglob("*") if not path.is_symlink()]


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
