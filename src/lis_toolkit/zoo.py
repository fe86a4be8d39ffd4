"""The zoo: names of bundled and downloadable models, and where their files are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from .downloads import torchvision_weights
from .downloads.download import by_hand, fetch
from .downloads.file_records import (
    Record,
    check_contents,
    check_record,
    read_record,
    record_path,
    write_record,
)
from .errors import CheckpointError, LisError
from .files import sha256_file
from .names import spelling_hint, unique_names

MODELS_FOLDER = Path(__file__).parent / "models"
KINDS = ("generator", "classifier", "judge", "segmenter")
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes
    ----------
    name, kind : str
        What `load_generator` ("generator"), `load_classifier` ("classifier", "judge") or `load_segmenter` ("segmenter")
        takes. A name may stand for one of each.
    file : str
        File name, in the package (no `url`) or in the cache folder.
    url : str or None
        Where it can be downloaded; None: it is bundled.
    size : int or None
        Bytes, where known.
    sha256 : str or None
        Of the file, where known; of a file that is not on this machine, it may be the first digits only.
    licence, description : str
    classes : str or None
        What `class_names` takes, where the file itself doesn't name its classes.
    exact : bool
        False: `size` is rounded.
    torchvision : tuple of str or None
        (architecture, weights), as `torchvision.models.get_model(architecture, weights=weights)` takes them.
    note : str
        What the sha256 of a downloaded file was compared with.
    """

    name: str
    kind: str
    file: str
    url: str | None
    size: int | None
    sha256: str | None
    licence: str
    description: str
    classes: str | None = None
    exact: bool = True
    torchvision: tuple[str, str] | None = None
    note: str = ""

    @property
    def path(self) -> Path:
        """Where the file is, or will be once it is downloaded."""
        return (cache_folder() / "models" if self.url else MODELS_FOLDER) / self.file

    @property
    def available(self) -> bool:
        """Whether the file is on this machine."""
        return os.path.isfile(self.path)


def _bundled(name: str, kind: str, file: str, description: str) -> Entry:
    return Entry(name, kind, file, None, None, None, "MIT", description)


def _published(name: str, description: str, classes: str | None = None) -> Entry:
    url = f"https://s3.eu-central-1.amazonaws.com/avg-projects/stylegan_xl/models/{name}.pkl"
    licence = "its authors'; not checked"
    return Entry(name, "generator", f"{name}.pkl", url, None, None, licence, description, classes)


# The addresses of the published generators are those of their authors' model list. They could not be reached from where
# this was written, so they are not tried, and sizes, hashes and licences are not known to us.
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
    _bundled(
        "fashion", "segmenter", "fashion-segmenter.safetensors", "13 parts, by the generator's features"
    ),
    _bundled(
        "fashion-pictures", "segmenter", "fashion-picture-segmenter.safetensors", "13 parts, by the picture"
    ),
    *(
        _published(
            f"imagenet{size}",
            f"StyleGAN-XL (Sauer et al. 2022), ImageNet at {size} px, 1000 classes",
            "imagenet",
        )
        for size in (16, 32, 64, 128, 256, 512, 1024)
    ),
    _published("cifar10", "StyleGAN-XL (Sauer et al. 2022), CIFAR-10 at 32 px, 10 classes", "cifar10"),
    *(
        _published(
            f"{data.lower()}{size}", f"StyleGAN-XL (Sauer et al. 2022), {data} at {size} px, no classes"
        )
        for data in ("FFHQ", "Pokemon")
        for size in (256, 512, 1024)
    ),
)


CLASS_LISTS = {"imagenet": torchvision_weights.imagenet_categories, "cifar10": lambda: CIFAR10_CLASSES}


def cache_folder() -> Path:
    """Return the folder for downloads: `LIS_CACHE`, or `lis_toolkit` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LIS_CACHE"):
        return Path(os.path.expanduser(own))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lis_toolkit"


def entries(torchvision: bool = False) -> list[Entry]:
    """Return the models of the zoo, the bundled ones first.

    Bundled files have the size and sha256 of the file that is there; downloaded ones those that were recorded at their
    first use, and `note` says what they were compared with.

    Parameters
    ----------
    torchvision
        Add torchvision's classifiers, which takes a few seconds.

    Examples
    --------
    >>> [e.name for e in entries() if e.kind == "judge"]
    ['fashion-judge']
    """
    listed = [*_ENTRIES]
    if torchvision:
        listed += [_from_torchvision(weights) for weights in torchvision_weights.all_weights()]
    return [_as_found(entry) for entry in listed]


def find(name: str, kind: str | Iterable[str]) -> Entry | None:
    """Return the entry that a name stands for, torchvision's included; None: it is no name of the zoo.

    Raises
    ------
    LisError
        For weights that an architecture of torchvision does not have.

    Examples
    --------
    >>> find("resnet50", "classifier").torchvision
    ('resnet50', 'IMAGENET1K_V2')
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    for entry in _ENTRIES:
        if entry.name == name and entry.kind in kinds:
            return entry
    weights = torchvision_weights.find_weights(name) if "classifier" in kinds else None
    return _from_torchvision(weights) if weights else None


def locate(
    name_or_path: str | os.PathLike[str],
    kind: str | Iterable[str],
    progress: bool = True,
    verify: bool = False,
) -> Path:
    """Return the file of a model given by its name in the zoo or by a path; a published model is downloaded first.

    A download is verified when it arrives or, put there by hand, when it is first used. After that its size is compared
    with what was recorded, and its sha256 when the file was touched. With the environment variable `LIS_OFFLINE` set,
    nothing is downloaded.

    Parameters
    ----------
    progress
        Say what is downloaded, with a bar.
    verify
        Compare the sha256 of a downloaded model in any case.

    Raises
    ------
    LisError
        For an unknown name or a missing file, or when the download fails.
    CheckpointError
        For a downloaded file that is truncated, altered, or a web page.

    Examples
    --------
    >>> locate("fashion", "generator").name
    'fashion-generator.safetensors'
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    text = os.fspath(name_or_path) if isinstance(name_or_path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise LisError(f"a {kinds[0]} is given by a name or a path, got {name_or_path!r}.")
    entry = find(text, kinds) if isinstance(name_or_path, str) else None
    if entry is not None:
        return _ready(entry, progress, verify)
    path = Path(os.path.expanduser(text))
    if os.path.isfile(path):  # unlike Path's own, False for names that no file can have
        return path
    if isinstance(name_or_path, str) and len(path.parts) == 1 and not path.suffix:
        raise LisError(f"no {kinds[0]} {text!r}; {_offer(text, kinds)} A path to a file works too.")
    raise LisError(f"there is no {kinds[0]} file {path}{' (it is a folder)' if os.path.isdir(path) else ''}.")


def download(name: str, progress: bool = True, verify: bool = False) -> Path:
    """Download a published model into the cache folder, unless it is there, and return its file, as `locate` does.

    An interrupted download is continued by the next call.

    Raises
    ------
    LisError
        For an unknown name, or when the server or the folder doesn't do what it should; says how to help oneself.
    CheckpointError
        When the file is truncated, altered, or a web page.

    Examples
    --------
    >>> download("imagenet256").name
    'imagenet256.pkl'
    """
    entry = next((e for e in _ENTRIES if e.url and e.name == name), None)
    if entry is None and isinstance(name, str):
        entry = find(name, "classifier")
    if entry is None or entry.url is None:
        raise LisError(f"{name!r} can't be downloaded; {_offer(str(name), KINDS, published=True)}")
    return _ready(entry, progress, verify)


def class_names(data: str) -> tuple[str, ...]:
    """Return the class names of a data set, in the order of the labels, each once.

    Parameters
    ----------
    data
        "imagenet" (torchvision's 1000 names) or "cifar10".

    Examples
    --------
    >>> class_names("imagenet")[207]
    'golden retriever'
    """
    known = CLASS_LISTS
    if data not in known:
        raise LisError(
            f"no class names for {data!r}; there are some for {', '.join(map(repr, known))}."
            f"{spelling_hint(str(data), known)}"
        )
    return unique_names(known[data]())


def _from_torchvision(weights: torchvision_weights.PublishedWeights) -> Entry:
    return Entry(
        weights.name,
        "classifier",
        weights.file,
        weights.url,
        weights.about,
        weights.sha256,
        weights.licence,
        weights.description,
        classes="imagenet",
        exact=False,
        torchvision=(weights.architecture, weights.weights),
    )


def _as_found(entry: Entry) -> Entry:
    """Return an entry with what is known of the file on this machine."""
    if not entry.available:
        return entry
    if entry.url is None:
        return replace(entry, size=entry.path.stat().st_size, sha256=sha256_file(entry.path))
    try:
        record = read_record(entry.path)
    except CheckpointError:
        return replace(entry, note="its record can't be read")
    if record is None:
        return replace(entry, note="not used yet, so not verified")
    return replace(entry, size=record.size, sha256=record.sha256, exact=True, note=record.note)


def _offer(text: str, kinds: tuple[str, ...], published: bool = False) -> str:
    """Return the sentences that say which names there are, and which one is near."""
    names = [e.name for e in _ENTRIES if e.kind in kinds and (e.url or not published)]
    offer, known = ", ".join(map(repr, names)), list(names)
    if "classifier" in kinds:
        more = {one.architecture for one in torchvision_weights.all_weights()}
        offer += f" and {len(more)} of torchvision's (`lis models` lists them)"
        known += sorted(more)
    return f"the zoo has {offer}.{spelling_hint(text, known)}"


def _ready(entry: Entry, progress: bool, verify: bool) -> Path:
    """Return the file of an entry: bundled, or in the cache and verified."""
    path = entry.path
    if entry.url is None:
        if not entry.available:
            raise LisError(f"{path} is missing from the installation: install lis-toolkit again.")
        return path
    record = read_record(path)
    if not entry.available:
        _download(entry, record, progress)
    elif record is None:
        try:
            digest = check_contents(path, str(path), entry.size if entry.exact else None, entry.sha256)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} It is not loaded. Delete it and it is downloaded again."
            ) from error
        _record(entry, digest, "found in the cache folder")
    else:
        check_record(path, record, verify)
        if entry.sha256 is not None and not record.sha256.startswith(entry.sha256):
            raise CheckpointError(
                f"{path} has sha256 {record.sha256}; {entry.sha256} is published. It is not loaded. Delete it and "
                f"{record_path(path)}, and it is downloaded again."
            )
    return path


def _download(entry: Entry, earlier: Record | None, progress: bool) -> None:
    """Fetch an entry's file; where no sha256 is published it must be that of an `earlier` one, if there was one."""
    assert entry.url is not None
    size, about = (entry.size, None) if entry.exact else (None, entry.size)
    sha256 = entry.sha256 or (earlier.sha256 if earlier else None)
    if os.environ.get("LIS_OFFLINE", "").lower() not in ("", "0", "false", "no"):
        raise LisError(
            f"{entry.name!r} is not on this machine, and nothing is downloaded while LIS_OFFLINE is set. "
            f"{by_hand(entry.url, entry.path, size, about, sha256)}"
        )
    if progress:
        amount = f"{entry.size / 1e6:,.1f} MB" if entry.size else "a file of unknown size"
        tqdm.write(
            f"{entry.name}: downloading {amount} from {entry.url} to {entry.path.parent} (licence: {entry.licence})",
            file=sys.stderr,
        )
    try:
        digest = fetch(
            entry.url, entry.path, name=entry.name, size=size, about=about, sha256=sha256, progress=progress
        )
    except CheckpointError as error:
        if entry.sha256 or earlier is None or earlier.sha256 not in str(error):
            raise
        raise CheckpointError(
            f"{error} This sha256 is that of the first use ({earlier.date}): delete {record_path(entry.path)} if you "
            "trust another file."
        ) from error
    if entry.sha256 or earlier is None:
        _record(entry, digest, "downloaded")
    else:
        check_record(entry.path, earlier)


def _record(entry: Entry, digest: str, origin: str) -> None:
    assert entry.url is not None
    record = write_record(entry.path, digest, entry.url, entry.sha256, origin)
    if entry.sha256 is None:
        place = record_path(entry.path)
        kept = (
            f"was recorded in {place}; a file that differs from it will be refused."
            if place.exists()
            else f"could not be recorded in {place}, so a later change would not be noticed."
        )
        tqdm.write(
            f"{entry.name}: no sha256 is published to check it against. That of this file, {record.sha256}, {kept}",
            file=sys.stderr,
        )
