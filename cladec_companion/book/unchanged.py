"""Whether the rendered book is up to date: asked before torch, papermill and Sphinx are imported, which takes long."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from cladec_companion.records.files import BUILT, RECORDED, ROOT

FRONT = ROOT / "build" / "book" / "_build" / "html" / "index.html"
STAMP = ROOT / "build" / "book.sha256"
FILES = ("_config.yml", "CITATION.cff", "CHANGELOG.md", "uv.lock")
FOLDERS = ("cladec_core", "cladec_companion", "notebooks", "book")
BESIDE = ("results", "unfinished", "__pycache__")  # folders whose files are passed over; records have manifests


def front(profile: str, student: bool = False) -> Path | None:
    """The front page of the book at a profile if it was made of the files as they are now; else None."""
    current = FRONT.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == digest(profile, student)
    return FRONT if current else None


def keep(profile: str, student: bool = False) -> None:
    """Write down that the book was made of the files as they are now."""
    STAMP.write_text(digest(profile, student), encoding="utf-8")


def forget() -> None:
    """Write down that the book is not whole, such as before it is rendered."""
    STAMP.unlink(missing_ok=True)


def digest(profile: str, student: bool) -> str:
    """Digest of everything that the book at a profile depends on, and of the notebooks executed for it."""
    found = hashlib.sha256(f"{profile} {student}".encode())
    for path in sorted(_files(profile)):
        found.update(str(path.relative_to(ROOT)).encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _files(profile: str) -> Iterator[Path]:
    yield from (ROOT / name for name in FILES if (ROOT / name).exists())
    for folder in (*FOLDERS, f"build/notebooks/{profile}"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not set(path.relative_to(ROOT / folder).parts) & set(BESIDE):
                yield path
    for records in (RECORDED, BUILT):
        yield from records.rglob("manifest.json")  # which has digests of the other files
