"""Image files in a folder and below it, in natural order."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import LisError

__all__ = ["EXTENSIONS", "list_images", "printable_path"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")


def list_images(folder: str | os.PathLike[str]) -> tuple[list[Path], list[str]]:
    """Return the images in a folder and below it, in natural order, and notes on what was left out.

    Links to folders are followed, each folder once, so a loop of links ends; real folders come before links to them.
    """
    root = Path(folder)
    found: list[Path] = []
    others: Counter[str] = Counter()
    notes: list[str] = []
    seen = set()
    folders, links = [root], list[Path]()
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        try:
            status = current.stat()
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            notes.append(
                f"folder {printable_path(current.relative_to(root))} can't be read: {error.strerror}"
            )
            continue
        if (status.st_dev, status.st_ino) in seen:
            notes.append(f"folder {printable_path(current.relative_to(root))} was met before and left out")
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path = current / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in EXTENSIONS:
                found.append(path)
            else:
                others[path.suffix.lower() or "no extension"] += 1
    if others:
        kinds = ", ".join(f"{suffix} {count}" for suffix, count in sorted(others.items(), key=_frequent)[:5])
        notes.append(f"other files left out: {others.total()} ({kinds})")
    if not found:
        told = f" There: {'; '.join(notes)}." if notes else " It is empty."
        raise LisError(f"{root} holds no images ({', '.join(e[1:] for e in EXTENSIONS)}).{told}")
    return sorted(found, key=lambda path: _natural(path.relative_to(root))), notes


def _frequent(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _natural(path: Path) -> tuple[Any, ...]:
    """Sort key in which numbers count as numbers; text stands at even places of a part, numbers at odd ones."""
    parts = [re.split(r"([0-9]+)", part.casefold()) for part in path.parts]
    return [[int(t) if i % 2 else t for i, t in enumerate(part)] for part in parts], path.parts


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be stored: bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
