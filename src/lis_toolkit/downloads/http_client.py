"""One HTTP request: what went wrong sorted into "try again", "start again" and "no use", whatever layer said so."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_TRY_AGAIN = (408, 425, 429)  # and all from 500
_PASSING = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    TimeoutError,
    http.client.HTTPException,
)


class Refused(Exception):
    """Another try would end the same way."""


class Broken(Exception):
    """The connection failed in a way that passes; `truncated`: the answer ended before its length."""

    def __init__(self, why: object, truncated: bool = False) -> None:
        super().__init__(str(why))
        self.truncated = truncated


class StartAgain(Exception):
    """The server can't continue the part that we have."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to the web only, and never out of an encrypted connection."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise Refused(f"it redirects to {newurl!r}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Put together by hand: the default one opens files and ftp too.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class Response:
    """An answer (status 200 or 206) whose body is received piece by piece.

    Attributes
    ----------
    status : int
    headers : email.message.Message
    length : int or None
        Bytes of the body, where the server says so.
    chunked : bool
        Whether the body says itself where it ends.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.status: int = raw.status
        self.headers = raw.headers
        self.length: int | None = raw.length
        self.chunked = bool(raw.chunked)

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *exception: object) -> None:
        self._raw.close()

    def receive(self, most: int) -> bytes:
        """Return the next bytes, as many as there are up to `most` and 256 KiB; b"" at the end."""
        try:
            return bytes(self._raw.read1(min(most, 1 << 18)))
        except http.client.IncompleteRead as error:
            raise Broken("the answer ended before its end", truncated=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(_words(error)) from error


def open_url(url: str, headers: dict[str, str], timeout: float) -> Response:
    """Send a GET request and return the answer, when it has status 200 or 206.

    Raises
    ------
    Broken, StartAgain, Refused
    """
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise Refused("the address is neither http nor https")
    try:
        raw = _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _sorted(error) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        passing = isinstance(cause, _PASSING)
        raise (Broken if passing else Refused)(_words(cause)) from error
    if raw.status not in (200, 206):
        raw.close()
        raise Refused(f"the server answered {raw.status} {raw.reason}")
    return Response(raw)


def _sorted(error: urllib.error.HTTPError) -> Exception:
    said = f"the server answered {error.code} {error.reason}"
    if error.code == 416:
        return StartAgain(said)
    if error.code >= 500 or error.code in _TRY_AGAIN:
        return Broken(said)
    if 300 <= error.code < 400:
        return Refused(f"its redirects lead nowhere ({' '.join(str(error.reason).split())})")
    if error.code in (401, 403):
        return Refused(f"{said}: it asks for a permission that we don't have, or forbids this network")
    if error.code in (404, 410):
        return Refused(f"{said}: the file is not, or no longer, at this address")
    return Refused(said)


def _words(error: object) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name of the server is not known here ({error}); this machine seems to be offline"
    if isinstance(error, ConnectionRefusedError):
        return f"the connection was refused ({error})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server can't prove who it is ({error.verify_message}); a proxy or a wrong clock may be the cause"
    if isinstance(error, TimeoutError):
        return "nothing came for too long (time-out)"
    return f"{error}" or type(error).__name__
