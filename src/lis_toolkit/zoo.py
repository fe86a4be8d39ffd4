"""The zoo: names of bundled and downloadable models, and where their files are."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .errors import CheckpointError, LisError
from .files import atomic_path, sha256_file
from .names import spelling_hint

MODELS_FOLDER = Path(__file__).parent / "models"
KINDS = ("generator", "classifier", "judge")


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes
    ----------
    name, kind : str
        What `load_generator` ("generator") or `load_classifier` ("classifier", "judge") takes. A name may stand for a
        generator and for a classifier.
    file : str
        File name, in the package (no `url`) or in the cache folder.
    url : str or None
        Where it can be downloaded; None: it is bundled.
    size : int or None
        Bytes, where known.
    sha256 : str or None
        Of the file, where known.
    licence, description : str
    """

    name: str
    kind: str
    file: str
    url: str | None
    size: int | None
    sha256: str | None
    licence: str
    description: str

    @property
    def path(self) -> Path:
        """Where the file is, or will be once it is downloaded."""
        return (cache_folder() / "models" if self.url else MODELS_FOLDER) / self.file

    @property
    def available(self) -> bool:
        """Whether the file is on this machine."""
        return self.path.is_file()


def _bundled(name: str, kind: str, file: str, description: str) -> Entry:
    return Entry(name, kind, file, None, None, None, "MIT", description)


def _published(name: str, description: str) -> Entry:
    url = f"https://s3.eu-central-1.amazonaws.com/avg-projects/stylegan_xl/models/{name}.pkl"
    return Entry(name, "generator", f"{name}.pkl", url, None, None, "its authors'; not checked", description)


# Sizes, hashes and licences of the published files are not known to us: they can't be reached from where this was
# written, and neither were the addresses tried. They are listed to be placed or fetched; this version does not read
# their format (pickle) yet.
_ENTRIES = (
    _bundled(
        "fashion", "generator", "fashion-generator.safetensors", "StyleGAN-XL, garments at 32 px, 10 classes"
    ),
    _bundled(
        "fashion", "classifier", "fashion-classifier.safetensors", "plain CNN, garments at 32 px, 10 classes"
    ),
    _bundled(
        "fashion-judge", "judge", "fashion-judge.safetensors", "another CNN, which nothing is trained against"
    ),
    *(
        _published(f"imagenet{size}", f"StyleGAN-XL (Sauer et al. 2022), ImageNet at {size} px, 1000 classes")
        for size in (16, 32, 64, 128, 256, 512, 1024)
    ),
    _published("cifar10", "StyleGAN-XL (Sauer et al. 2022), CIFAR-10 at 32 px, 10 classes"),
)


def cache_folder() -> Path:
    """Return the folder for downloads: `LIS_CACHE`, or `lis_toolkit` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LIS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lis_toolkit"


def entries() -> list[Entry]:
    """Return all models of the zoo, the bundled ones (with size and sha256 of their files) first.

    Examples
    --------
    >>> [e.name for e in entries() if e.kind == "judge"]
    ['fashion-judge']
    """
    return [
        replace(e, size=e.path.stat().st_size, sha256=sha256_file(e.path))
        if e.url is None and e.available
        else e
        for e in _ENTRIES
    ]


def locate(name_or_path: str | os.PathLike[str], kind: str | Iterable[str]) -> Path:
    """Return the file of a model given by its name in the zoo or by a path.

    Raises
    ------
    LisError
        For an unknown name, a missing file, or a model that has to be downloaded first.

    Examples
    --------
    >>> locate("fashion", "generator").name
    'fashion-generator.safetensors'
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    text = os.fspath(name_or_path) if isinstance(name_or_path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise LisError(f"a {kinds[0]} is given by a name or a path, got {name_or_path!r}.")
    known = {e.name: e for e in _ENTRIES if e.kind in kinds}
    entry = known.get(text) if isinstance(name_or_path, str) else None
    if entry is None:
        path = Path(text).expanduser()
        if path.is_file():
            return path
        if isinstance(name_or_path, str) and len(path.parts) == 1 and not path.suffix:
            raise LisError(
                f"no {kinds[0]} {text!r}; the zoo has {', '.join(map(repr, known))}."
                f"{spelling_hint(text, known)} A path to a file works too."
            )
        raise LisError(f"there is no {kinds[0]} file {path}{' (it is a folder)' if path.is_dir() else ''}.")
    if not entry.available:
        if entry.url:
            raise LisError(
                f"{entry.name!r} is not on this machine yet: lis_toolkit.zoo.download({entry.name!r}) gets it from "
                f"{entry.url} ({entry.licence}) into {entry.path.parent}. A copy can also be put there by hand."
            )
        raise LisError(f"{entry.path} is missing from the installation: install lis-toolkit again.")
    return entry.path


def download(name: str, progress: bool = True) -> Path:
    """Download a model of the zoo into the cache folder, unless it is there, and return its file.

    An interrupted download leaves nothing behind. The sha256 is checked where the zoo knows it.

    Raises
    ------
    LisError
        For an unknown name, or when the server or the folder doesn't answer.
    CheckpointError
        When the file has another length or sha256 than promised.
    """
    known = {e.name: e for e in _ENTRIES if e.url}
    if name not in known:
        raise LisError(
            f"{name!r} can't be downloaded; {', '.join(map(repr, known))} can.{spelling_hint(str(name), known)}"
        )
    entry = known[name]
    if not entry.available:
        _fetch(entry, progress)
    return entry.path


def _read(response: Any, url: str) -> bytes:
    try:
        return bytes(response.read(1 << 20))
    except (OSError, http.client.HTTPException) as error:
        raise LisError(f"the download of {url} broke off: {error}. Try again.") from error


def _fetch(entry: Entry, progress: bool) -> None:
    assert entry.url is not None
    digest, received = hashlib.sha256(), 0
    try:
        response = urllib.request.urlopen(entry.url, timeout=30)
    except (OSError, http.client.HTTPException) as error:
        raise LisError(f"could not download {entry.url}: {error}.") from error
    with response, atomic_path(entry.path) as temporary:
        total = int(response.headers.get("Content-Length") or 0) or None
        bar = tqdm(total=total, unit="B", unit_scale=True, desc=entry.name, disable=not progress)
        with bar, open(temporary, "wb") as file:
            while block := _read(response, entry.url):
                file.write(block)
                digest.update(block)
                received += len(block)
                bar.update(len(block))
        expected = entry.size or total
        if expected is not None and received != expected:
            raise CheckpointError(f"{entry.url} gave {received} bytes; {expected} were expected. Try again.")
        if entry.sha256 is not None and digest.hexdigest() != entry.sha256:
            raise CheckpointError(
                f"{entry.url} has sha256 {digest.hexdigest()}; {entry.sha256} was expected. It was not kept."
            )
