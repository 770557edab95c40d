"""Files: the folders of a checkout, the one way to replace a file, and the one lock.

Every program of the project that writes a file which others read (records, trained models, executed notebooks) does it
with `write` or `replacing`: a reader, or a kill at any moment, finds the old content or the new one, never a part.
"""

import hashlib
import itertools
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cladec_core.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "book" / "results"  # committed
BUILT = ROOT / "build" / "results"  # made on this machine

_NEW = ".new"  # ending of what is not yet in its place
_WRITER = re.compile(r"\.(?P<process>\d+)-\d+\.(?P<machine>[^.]*)\.new$")
_STALE_SECONDS = 86_400.0  # no write takes a day
_numbers = itertools.count()


def model_cache() -> Path:
    """Where trained networks are kept: `$CLADEC_MODELS`, or `build/models`."""
    return Path(os.environ.get("CLADEC_MODELS") or ROOT / "build" / "models")


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Replace a file as a whole; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk; a kill in the middle leaves a part of it."""
    path.write_bytes(content)
    _sync(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file as a whole: the block writes a temporary file, which then takes the place of the old one.

    Parameters
    ----------
    path
        The file; missing folders are made.

    Yields
    ------
    Path
        The temporary file, in the same folder. If the block fails it is removed, and the old file stays.

    Raises
    ------
    OSError
        If it cannot be written, such as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{next(_numbers)}.{_machine()}{_NEW}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder; those of living ones stay."""
    for path in folder.glob(f"*{_NEW}"):
        with suppress(OSError):  # another process was faster
            if _left_over(path):
                path.unlink()


def refuse_unwritable(folder: Path) -> None:
    """Say before any work that a folder cannot be made or written; nothing is made.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    parent = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        problem = "is not a folder" if not parent.is_dir() else "cannot be written"
        raise RunError(f"Cannot write the record {folder}: {parent} {problem}.")


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep all other processes from writing a file or folder; the lock of a process that died holds no longer.

    Nothing is left of the lock afterwards, nor of the folders that it needed if they are still empty.

    Parameters
    ----------
    target
        What the block writes. Beside it, the lock and a file that names the process are kept meanwhile.

    Raises
    ------
    RunError
        If another process is writing it; the message says which, or why it cannot be written.
    """
    folder, holder = target.parent, target.with_name(f".{target.name}.holder")
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S %z')}")
    except Timeout:
        raise RunError(f"{target} is being written by {_name(holder)}; wait for its end, or stop it.") from None
    except OSError as error:
        _release(lock, holder, missing)
        raise RunError(f"Cannot write {target}: {error.strerror}.") from error
    try:
        yield
    finally:
        _release(lock, holder, missing)


def _release(lock: FileLock, holder: Path, made: list[Path]) -> None:
    """Give a lock back, and remove its files and the empty folders that were made for it."""
    with suppress(OSError):
        holder.unlink(missing_ok=True)
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held; filelock tries again on a removed file
    lock.release()
    for folder in made:
        with suppress(OSError):  # something is in it now
            folder.rmdir()


def _name(holder: Path) -> str:
    """Who holds a lock."""
    try:
        text = holder.read_text(encoding="utf-8", errors="replace")[:200]
    except OSError:
        return "another process"
    return "".join(character for character in text if character.isprintable())


def _sync(path: Path) -> None:
    """Wait until the content of a file is on the disk and survives a power cut."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _left_over(path: Path) -> bool:
    """Whether nobody is going to finish a temporary file."""
    found = _WRITER.search(path.name)
    if found and found["machine"] == _machine() and os.name == "posix":
        return not _alive(int(found["process"]))
    return time.time() - path.stat().st_mtime > _STALE_SECONDS


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    return platform.node().replace(".", "-")


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, where the system knows how to."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
