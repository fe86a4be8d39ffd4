"""Downloads that end with the right bytes under the final name, or with nothing there and a message that helps.

A file arrives in `NAME.part` beside its final place, with `NAME.part.json` saying which version of which address the
part belongs to. Only a part that the server confirms to be of the same version is continued; only a complete and
verified part is moved to the final name.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..errors import CheckpointError, LisError
from ..files import package_version
from .file_lock import locked
from .file_records import check_contents
from .http_client import Broken, Refused, Response, StartAgain, open_url

BLOCK = 1 << 18  # bytes asked of the socket at once
_NOT_A_MODEL = ("text/html", "application/xhtml+xml", "text/xml", "application/xml", "application/json")


@dataclass
class _Job:
    """What is fetched, where to, and what is known of it."""

    url: str
    target: Path
    name: str
    size: int | None
    about: int | None
    sha256: str | None
    timeout: float
    bar: Any = None
    part: Path = field(init=False)
    notes: Path = field(init=False)

    def __post_init__(self) -> None:
        self.keep_as(f"{self.target.name}.part")

    def keep_as(self, name: str) -> None:
        self.part = self.target.with_name(name)
        self.notes = self.target.with_name(f"{name}.json")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        for path in (self.part, self.notes):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def by_hand(self) -> str:
        return by_hand(self.url, self.target, self.size, self.about, self.sha256)

    def no_room(self, why: str, error: OSError | None = None) -> LisError:
        denied = error is not None and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
        remedy = "Make the folder writable" if denied else "Make room"
        return LisError(
            f"{why} {remedy}, or set the environment variable LIS_CACHE to a folder elsewhere. {self.by_hand()}"
        )

    def refused(self, why: str) -> CheckpointError:
        """Remove what came and say why it is not wanted."""
        self.discard()
        return CheckpointError(f"{self.url} {why} It was not kept. {self.by_hand()}")


def by_hand(
    url: str, target: Path, size: int | None = None, about: int | None = None, sha256: str | None = None
) -> str:
    """Return the sentence that says how to put a file in its place without our help."""
    known = [f"{size:,} bytes"] if size else [f"about {about / 1e6:,.1f} MB"] if about else []
    if sha256:
        known.append(f"sha256 {sha256}" if len(sha256) == 64 else f"a sha256 that begins with {sha256}")
    described = f" ({', '.join(known)})" if known else ""
    return f"To place it by hand, get {url} in another way, e.g. with a browser, and save it{described} as {target}."


def fetch(
    url: str,
    target: str | os.PathLike[str],
    *,
    name: str | None = None,
    size: int | None = None,
    about: int | None = None,
    sha256: str | None = None,
    progress: bool = True,
    timeout: float | None = None,
    attempts: int = 5,
    pause: float = 1.0,
) -> str:
    """Download a file, resuming what an earlier call left, and return its sha256.

    Two processes that want the same file wait for each other. A file that is already at `target` is not touched.

    Parameters
    ----------
    url
        http or https. Redirects are followed to these only, and never from https to http.
    name
        Shown beside the progress bar; default: that of the file.
    size, about
        Bytes, exactly, or as a hint of how much room is needed.
    sha256
        64 hexadecimal digits, or the first ones, where it is known.
    timeout
        Seconds without a single byte after which a connection counts as broken; default: the environment variable
        LIS_TIMEOUT, or 30.
    attempts, pause
        How often in a row to try without getting further, and seconds before the second try; the pause doubles.

    Raises
    ------
    LisError
        When the server can't be reached or doesn't give the file, or the folder is not writable or full.
    CheckpointError
        When what comes is truncated, too long, altered, or a web page; it is not kept.

    Examples
    --------
    >>> fetch("https://example.org/model.safetensors", "cache/model.safetensors")
    'c0535e4b...'
    """
    seconds = _default_timeout() if timeout is None else timeout
    job = _Job(url, Path(target), name or Path(target).name, size, about, sha256, seconds)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with locked(job.target, job.name) as alone:
            if not alone:  # no locks here: a name of our own, which nobody can continue later
                job.keep_as(f"{job.target.name}.{os.getpid()}.part")
            try:
                if not job.target.exists():
                    digest = _complete(job, progress, attempts, pause)
                    _publish(job)
                    return digest
            finally:
                if not alone:
                    job.discard()
    except OSError as error:
        raise job.no_room(f"can't write {job.target}: {error}.", error) from error
    return check_contents(job.target, str(job.target), size, sha256)


def _default_timeout() -> float:
    text = os.environ.get("LIS_TIMEOUT", "30")
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1e6:
            return float(text)
    raise LisError(f"the environment variable LIS_TIMEOUT is {text!r}; seconds, such as 30, were expected.")


def _complete(job: _Job, progress: bool, attempts: int, pause: float) -> str:
    """Receive until the part is complete and verified; return its sha256."""
    resumed = job.have() > 0
    while True:
        with tqdm(
            desc=job.name, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress
        ) as job.bar:
            resumed = _receive_all(job, attempts, pause) or resumed
        try:
            return check_contents(job.part, job.url, job.size, job.sha256)
        except CheckpointError as error:
            if not resumed:
                raise job.refused(f"is not the model: {error}") from error
            # The halves may not fit each other, after a power failure for instance: once more, in one piece.
            job.discard()
            resumed = False
            tqdm.write(f"{job.name}: {error} Starting again.", file=sys.stderr)


def _receive_all(job: _Job, attempts: int, pause: float) -> bool:
    """Connect until everything is there; return whether it took more than one connection."""
    best, failures = job.have(), 0
    for connection in range(attempts * 20):  # each may get a little further; still not without end
        try:
            _receive(job)
            return connection > 0
        except StartAgain as error:
            job.discard()
            last = Broken(str(error))
            failures += 1
        except Broken as error:
            last = error
            failures = 1 if job.have() > best else failures + 1
            best = max(best, job.have())
        if failures >= attempts:
            break
        time.sleep(pause * 2 ** (failures - 1))
    if job.have() and _validator(job):
        kept = f"The {job.have():,} bytes that came are kept in {job.part}: the next try goes on from there."
    else:
        job.discard()
        kept = "Nothing was kept."
    kind = CheckpointError if last.truncated else LisError
    raise kind(
        f"the download of {job.url} broke off and could not be completed: {last}. {kept} {job.by_hand()}"
    ) from last


def _receive(job: _Job) -> None:
    """Use one connection to complete the part, from where it ends if the server agrees."""
    known, validator = _read_notes(job), _validator(job)
    have = job.have() if validator else 0
    if have and known.get("total") == have:
        return  # only the last step was missing
    headers = {"User-Agent": f"lis-toolkit/{package_version()}", "Accept-Encoding": "identity"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        response = open_url(job.url, headers, job.timeout)
    except Refused as error:
        raise LisError(f"could not download {job.url}: {error}. {job.by_hand()}") from error
    with response:
        _check_headers(job, response)
        total = response.length
        if response.status == 206:
            total = _continued(response, have, known)
        else:
            have = 0
            _begin(job, response)
        expected = total or job.size or job.about
        free = shutil.disk_usage(job.part.parent).free
        if expected and expected - have > free:
            if not have:
                job.discard()
            raise job.no_room(
                f"{job.name} needs {expected - have:,} bytes; {job.part.parent} has {free:,} bytes free."
            )
        job.bar.total, job.bar.n = expected, have
        job.bar.refresh()
        _copy(job, response, have, total)


def _check_headers(job: _Job, response: Response) -> None:
    """Refuse an answer that can't be the file, before its body is read."""
    kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
    if kind in _NOT_A_MODEL:
        raise job.refused(
            f"gave a page ({kind}) instead of the file: a log-in, an error or a filter answered."
        )
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise job.refused(f"was sent compressed ({encoding}), which was not asked for and can't be resumed.")


def _continued(response: Response, have: int, known: dict[str, Any]) -> int:
    """Return the total length that a partial answer promises, if it goes on exactly where the part ends."""
    said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "").strip())
    start, end, total = (int(number) for number in said.groups()) if said else (-1, -1, -1)
    if not have or start != have or end + 1 != total or response.length not in (None, total - have):
        raise StartAgain("the server goes on at another place than where the part ends")
    version = {"total": total, "etag": response.headers.get("ETag")}
    version["last_modified"] = response.headers.get("Last-Modified")
    if any(None not in (new, known.get(key)) and new != known[key] for key, new in version.items()):
        raise StartAgain("the server goes on with another version of the file")
    return total


def _begin(job: _Job, response: Response) -> None:
    """Start the part anew, and note which version of the file it will hold."""
    total = response.length
    if job.size is not None and total is not None and total != job.size:
        raise job.refused(f"has {total} bytes; {job.size} were expected.")
    if total is None and not response.chunked and job.size is None and job.sha256 is None:
        raise job.refused("comes without its length: a truncated answer could not be told from a whole one.")
    job.part.write_bytes(b"")  # before the note, so that the note never speaks of other bytes
    note = {
        "url": job.url,
        "etag": response.headers.get("ETag"),
        "last_modified": response.headers.get("Last-Modified"),
        "total": total,
    }
    job.notes.write_text(json.dumps(note))


def _copy(job: _Job, response: Response, have: int, total: int | None) -> None:
    """Append the body to the part."""
    most = total or job.size or (2 * job.about if job.about else None)
    with open(
        job.part, "ab", buffering=0
    ) as file:  # unbuffered: what has come is in the file, whatever happens
        try:
            while have != total and (block := response.receive(BLOCK if total is None else total - have)):
                have += len(block)
                if most is not None and have > most:
                    raise job.refused(f"gave more than {most} bytes; at most that many were expected.")
                _write(job, file, block)
                job.bar.update(len(block))
        finally:
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())
    if total is not None and have != total:
        raise Broken(f"it gave {have} bytes; {total} were expected", truncated=True)


def _write(job: _Job, file: io.FileIO, block: bytes) -> None:
    try:
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        job.discard()  # a full disk harms more than this download: give the room back
        raise job.no_room(f"writing {job.part} failed: {error}. The part was removed.") from error


def _publish(job: _Job) -> None:
    """Move the verified part to its final name."""
    os.replace(job.part, job.target)
    job.discard()
    with contextlib.suppress(OSError):  # not every system can flush a folder
        folder = os.open(job.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read_notes(job: _Job) -> dict[str, Any]:
    try:
        notes = json.loads(job.notes.read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) and notes.get("url") == job.url else {}


def _validator(job: _Job) -> str | None:
    """Return what names the version of the part: a strong ETag, else the date; None: it can't be continued."""
    notes = _read_notes(job)
    tag, date = notes.get("etag"), notes.get("last_modified")
    return tag if tag and not tag.startswith("W/") else date
