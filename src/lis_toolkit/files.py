"""Files: written whole or not at all, hashed, and read without executing anything."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .errors import CheckpointError, LisError

METADATA_KEY = "lis"  # the one key of the safetensors header that holds our JSON


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, moved to `path` when the block ends without an error.

    Missing folders are created. After an error or an interruption `path` is as it was before and the temporary
    file is gone.

    Raises
    ------
    LisError
        When the folder or the file can't be written.

    Examples
    --------
    >>> with atomic_path("out/metrics.json") as temporary:
    ...     temporary.write_text("{}")
    """
    target = Path(path)
    if target.is_dir():
        raise LisError(f"can't write {target}: it is a folder; give the path of a file.")
    # The suffix stays, because PIL and others choose the format by it.
    temporary = target.with_name(f".{target.stem[:100]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except (OSError, safetensors.SafetensorError) as error:
        raise LisError(
            f"can't write {target}: {error}. The folder is not writable or full; give another one."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise LisError(f"can't read {path}: {error}.") from error
    return digest.hexdigest()


def sha256_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return one sha256 over names, dtypes, shapes and bytes, whatever the order, device and memory layout."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():  # torch can't view an empty matrix as bytes
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def content_key(told: Mapping[str, Any]) -> str:
    """One sha256 of all that a manifest says but "key", so that a changed word or digit is seen."""
    plain = {name: value for name, value in told.items() if name != "key"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON metadata as one safetensors file, atomically.

    Raises
    ------
    LisError
        When the folder can't be written, or `metadata` is not JSON.
    """
    try:
        text = json.dumps(dict(metadata))
    except (TypeError, ValueError) as error:
        raise LisError(f"the metadata of {path} is not JSON: {error}.") from error
    # Copies: safetensors refuses views that share memory, and takes contiguous tensors only.
    own = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(own, temporary, metadata={METADATA_KEY: text})
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # safetensors gives its files to their owner alone


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file: its tensors, on the CPU, and our JSON metadata (empty if it has none).

    Raises
    ------
    CheckpointError
        When the file is missing, truncated, not safetensors, or its metadata is not a JSON object.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}.") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file: {error}. Copy or save it again."
        ) from error
    try:
        metadata = json.loads(header.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has metadata that is not JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path} has {type(metadata).__name__} metadata; a JSON object was expected.")
    return tensors, metadata


def package_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return importlib.metadata.version("lis-toolkit")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a source folder


def provenance(**extra: Any) -> dict[str, Any]:
    """Return versions and the date (UTC), for the metadata of whatever is saved, plus `extra`."""
    return {
        "lis_toolkit": package_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **extra,
    }
