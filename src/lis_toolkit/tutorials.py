"""The tutorial notebooks: copied to a folder of the user's, whose own changes stay, and opened in JupyterLab."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import LisError
from .files import atomic_path

__all__ = ["CopiedTutorials", "copy_tutorials", "open_lab", "tutorials_folder"]

DEFAULT_FOLDER = "lis-tutorials"
FIRST = "00_quickstart.ipynb"
RECORD = ".lis-tutorials.json"  # in the user's folder: file name -> sha256 of what was copied there
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class CopiedTutorials:
    """What `copy_tutorials` did; file names, sorted.

    Attributes
    ----------
    folder : where the notebooks are.
    new : copied, were not there.
    updated : an older version that nobody had changed, replaced.
    kept : changed by the user and left as they are, while the toolkit has a newer version.
    beside : of those, where the newer version is now: "03_units.new.ipynb".
    unchanged : nothing to do.
    """

    folder: Path
    new: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]
    beside: tuple[str, ...]
    unchanged: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.new) + len(self.updated) + len(self.kept) + len(self.unchanged)
        lines = [f"{count} notebooks in {self.folder}: {len(self.new)} new, {len(self.updated)} updated"]
        for name in self.kept:
            new = newer_name(name)
            place = f"; the toolkit's newer version is {new}" if new in self.beside else ""
            lines.append(f"  {name} is yours and was kept{place}")
        return "\n".join(lines)


def tutorials_folder() -> Path:
    """Return the folder that the tutorials come from: in the installed package, or in a checkout of the source.

    Raises
    ------
    LisError : neither is there.

    Examples
    --------
    >>> sorted(path.name for path in tutorials_folder().glob("*.ipynb"))[0]
    '00_quickstart.ipynb'
    """
    package = Path(__file__).resolve().parent
    found = [
        folder for folder in (package / "notebooks", package.parents[1] / "notebooks") if folder.is_dir()
    ]
    if not found:
        raise LisError(
            f"there are no tutorials in {package}: this copy of lis_toolkit is not complete; install again."
        )
    return found[0]


def copy_tutorials(
    folder: str | os.PathLike[str] = DEFAULT_FOLDER, source: str | os.PathLike[str] | None = None
) -> CopiedTutorials:
    """Copy the tutorial notebooks into a folder, each whole or not at all; what the user changed is never overwritten.

    A file counts as the user's when it is not what an earlier call put there; then a newer version of the toolkit's
    goes beside it, as NAME.new.ipynb. The folder remembers what was copied in a hidden file.

    Parameters
    ----------
    folder : made if it is missing.
    source : folder to copy from; default: `tutorials_folder()`.

    Returns
    -------
    CopiedTutorials

    Raises
    ------
    LisError : the folder is a file, is the source itself, or can't be written.

    Examples
    --------
    >>> copy_tutorials("lis-tutorials").folder.name
    'lis-tutorials'
    """
    target, source = Path(folder).absolute(), Path(source or tutorials_folder())
    if _exists(target) and not target.is_dir():
        raise LisError(f"{target} is a file; give a folder for the notebooks.")
    if target.resolve().is_relative_to(source.resolve()):
        raise LisError(f"{target} is where the tutorials come from; give another folder for your copies.")
    record = _read_record(target / RECORD)
    done: dict[str, list[str]] = {key: [] for key in ("new", "updated", "kept", "beside", "unchanged")}
    for path in sorted(source.glob("*.ipynb")):
        name, content = path.name, path.read_bytes()
        ours, there = _digest(content), _digest_of(target / name)
        if there == ours:
            done["unchanged"].append(name)
        elif there is None or there == record.get(name):
            done["new" if there is None else "updated"].append(name)
            _write(target / name, content)
        elif ours == record.get(name):  # changed by the user, and not by us since
            done["unchanged"].append(name)
            continue
        else:
            done["kept"].append(name)
            new = newer_name(name)
            beside = _digest_of(target / new)
            # A newer version that was thrown away does not come back before the next one.
            if beside == record.get(new) or (beside is None and record.get(new) != ours):
                _write(target / new, content)
                beside = ours
            if beside == ours:
                done["beside"].append(new)
                record[new] = ours
            continue
        record[name] = ours
    _write(target / RECORD, json.dumps(record, indent=1, sort_keys=True).encode())
    return CopiedTutorials(target, **{key: tuple(names) for key, names in done.items()})


def newer_name(name: str) -> str:
    """Return where a newer version goes beside a notebook that the user changed."""
    return f"{Path(name).stem}.new.ipynb"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise LisError(f"can't use {str(path)[:200]}: {error.strerror}; give another folder.") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    """Return the sha256 of a file, None where there is none."""
    if path.is_dir():
        raise LisError(f"{path} is a folder where a notebook belongs; rename it, or give another folder.")
    try:
        return _digest(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LisError(f"can't read {path}: {error}.") from error


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _read_record(path: Path) -> dict[str, str]:
    """Return what was copied before; nothing where that is not known, so that every difference is the user's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {name: digest for name, digest in record.items() if isinstance(digest, str)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lis lab`."""
    parser.add_argument(
        "folder", nargs="?", default=DEFAULT_FOLDER, metavar="FOLDER", help="for your copies (%(default)s)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, default=None, help="of the server (default: JupyterLab's, 8888)")
    parser.add_argument(
        "--allow-root", action="store_true", help="run as root, which JupyterLab else refuses: in a container"
    )
    parser.set_defaults(run=run_lab_command)


def run_lab_command(options: argparse.Namespace) -> None:
    """Carry out `lis lab`."""
    arguments = lab_arguments(options.folder, options.port, options.no_browser, options.allow_root)
    print(copy_tutorials(options.folder), flush=True)
    open_lab(arguments)


def lab_arguments(
    folder: str | os.PathLike[str], port: int | None, no_browser: bool, allow_root: bool
) -> list[str]:
    """Return what JupyterLab is started with; refuse before anything is copied."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise LisError('lis lab needs JupyterLab, which is not installed: pip install "lis-toolkit[lab]".')
    if port is not None and not 0 <= port <= HIGHEST_PORT:
        raise LisError(f"port is {port}; give one from 1 to {HIGHEST_PORT}, or 0 for any that is free.")
    arguments = [f"--ServerApp.root_dir={Path(folder).absolute()}", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    arguments += [f"--ServerApp.port={port}"] * (port is not None)
    arguments += ["--no-browser"] * no_browser + ["--allow-root"] * allow_root
    return arguments


def open_lab(arguments: list[str]) -> None:
    """Run JupyterLab in this process until it is stopped; it listens on this machine alone unless told otherwise."""
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(arguments)
