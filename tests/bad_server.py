"""A server on loopback that misbehaves on purpose, each request as the next item of a script says."""

import contextlib
import http.server
import re
import socket
import struct
import threading

CONTENT = bytes(range(256)) * 5000  # 1.28 MB


class BadServer:
    """`script` holds the answers to the requests in their order; the last one is repeated.

    An answer is a function of the request's handler; `answer(...)` makes them. `requests` keeps the headers that came.
    """

    def __init__(self):
        self.script, self.requests = [answer()], []
        self.go = threading.Event()  # what stalled answers wait for
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                number = len(owner.requests)
                owner.requests.append(dict(self.headers))
                self.close_connection = True
                with contextlib.suppress(ConnectionError):
                    owner.script[min(number, len(owner.script) - 1)](self, owner)

            def log_message(self, *arguments):
                pass

        self._httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.root = f"http://127.0.0.1:{self._httpd.server_port}"

    def url(self, path="model.pkl"):
        return f"{self.root}/{path}"

    def ranges(self):
        """Return the Range header of each request, None where there was none."""
        return [headers.get("Range") for headers in self.requests]

    def close(self):
        self.go.set()
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


def status(code, body=b"no", **headers):
    """Return an answer of another status than 200."""

    def send(handler, server):
        handler.send_response(code)
        for name, value in {"Content-Length": len(body), "Connection": "close", **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(body)

    return send


def answer(
    content=CONTENT,
    *,
    etag='"v1"',
    cut=None,
    reset=False,
    stall=None,
    ranges=True,
    if_range=True,
    content_range=None,
    length=True,
    chunked=False,
    extra=b"",
    **headers,
):
    """Return an answer with the file.

    Parameters
    ----------
    cut, reset
        Close after this many bytes of the body, with a reset.
    stall
        Send nothing more after this many bytes, until the server closes or `go` is set.
    ranges, if_range
        Honour these request headers.
    content_range
        To say instead of the right one; None: the right one.
    length
        True: the right one; a number: that one; False: none.
    chunked
        With `cut`: without the final chunk.
    extra
        Sent after the end.
    """

    def send(handler, server):
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if ranges and asked and (not if_range or handler.headers.get("If-Range") == etag):
            start = int(asked[1])
        partial = start > 0
        if partial and start >= len(content):
            return status(416)(handler, server)
        body = content[start:]
        handler.send_response(206 if partial else 200)
        said = {"Connection": "close", "ETag": etag, **{k.replace("_", "-"): v for k, v in headers.items()}}
        if partial:
            said["Content-Range"] = content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
        if chunked:
            said["Transfer-Encoding"] = "chunked"
        elif length is not False:
            said["Content-Length"] = len(body) if length is True else length
        for name, value in said.items():
            if value is not None:
                handler.send_header(name, str(value))
        handler.end_headers()
        first = body if cut is None and stall is None else body[: cut if stall is None else stall]
        if chunked:
            for i in range(0, len(first), 100_000):
                block = first[i : i + 100_000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            if cut is None:
                handler.wfile.write(b"0\r\n\r\n")
            return None
        handler.wfile.write(first)
        if stall is not None:
            server.go.wait(60)
            handler.wfile.write(body[stall:])
        handler.wfile.write(extra)
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        return None

    return send
