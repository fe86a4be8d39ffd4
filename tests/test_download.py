"""Downloads against a server that misbehaves: the right bytes under the final name, or nothing and a message."""

import contextlib
import fcntl
import functools
import hashlib
import io
import itertools
import os
import pickle
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
import urllib.request

import pytest
import torch

from bad_server import CONTENT, BadServer, answer, status
from lis_toolkit.downloads import download, file_lock, http_client
from lis_toolkit.downloads.file_lock import locked
from lis_toolkit.errors import CheckpointError, LisError

SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:500_000] + b"?" + CONTENT[500_001:]
HALF = len(CONTENT) // 2
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
PICKLE = pickle.dumps(list(range(1000)))
_ZIP = io.BytesIO()
torch.save({"weight": torch.arange(300)}, _ZIP)
ZIP = _ZIP.getvalue()
_LEGACY = io.BytesIO()
torch.save({"weight": torch.arange(300)}, _LEGACY, _use_new_zipfile_serialization=False)
# The waits are parameters, so nothing here waits for long.
fetch = functools.partial(download.fetch, progress=False, timeout=20, attempts=3, pause=0.001)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    bad = BadServer()
    yield bad
    bad.close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "model.pkl"


def left(target):
    """Return the names of the files beside the target."""
    return sorted(p.name for p in target.parent.iterdir()) if target.parent.exists() else []


WHOLE = answer(ranges=False)


def say(words):
    """Return an answer that is not HTTP."""
    return lambda handler, server: handler.wfile.write(words)


@contextlib.contextmanager
def interruption(blocks=5):
    """Let the user press Ctrl-C when some blocks have come."""
    real, count = http_client.Response.receive, itertools.count()

    def receive(self, most):
        if next(count) >= blocks:
            raise KeyboardInterrupt
        return real(self, min(most, 100_000))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(http_client.Response, "receive", receive)
        yield


def free_bytes(monkeypatch, free):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free))


def test_a_good_answer_is_kept_and_nothing_else(server, target):
    assert fetch(server.url(), target, size=len(CONTENT), sha256=SHA256) == SHA256
    assert target.read_bytes() == CONTENT and left(target) == ["model.pkl"]
    request = server.requests[0]
    assert request["Accept-Encoding"] == "identity" and request["User-Agent"].startswith("lis-toolkit/")
    assert fetch(server.url(), target) == SHA256 and len(server.requests) == 1  # what is there is not touched


def test_an_interrupted_download_is_continued_where_it_ended(server, target):
    with interruption():
        fetch(server.url(), target)
    assert left(target) == ["model.pkl.part", "model.pkl.part.json"]
    begun = (target.parent / "model.pkl.part").stat().st_size
    assert 0 < begun <= 500_000
    assert fetch(server.url(), target) == SHA256
    assert target.read_bytes() == CONTENT and left(target) == ["model.pkl"]
    assert server.ranges() == [None, f"bytes={begun}-"] and server.requests[1]["If-Range"] == '"v1"'


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("times", [1, 4])
def test_a_connection_that_drops_is_taken_up_again_while_it_gets_further(server, target, reset, times):
    server.script = [answer(cut=200_000, reset=reset)] * times + [answer()]
    assert fetch(server.url(), target) == SHA256 and target.read_bytes() == CONTENT
    if not reset:  # after a reset the system may have thrown away what had come
        assert server.ranges() == [None, *(f"bytes={200_000 * (i + 1)}-" for i in range(times))]


def test_one_that_drops_before_its_first_byte_is_given_up_and_nothing_is_kept(server, target):
    server.script = [answer(cut=0)]
    with pytest.raises(
        CheckpointError, match=r"it gave 0 bytes; 1280000 were expected\. Nothing was kept\. To place"
    ):
        fetch(server.url(), target)
    assert len(server.requests) == 3 and left(target) == []


def test_one_that_always_ends_at_the_same_byte_keeps_the_part_for_the_next_try(server, target):
    server.script = [answer(cut=HALF), answer(cut=0)]
    with pytest.raises(
        CheckpointError, match=f"The {HALF:,} bytes that came are kept in .*the next try goes on"
    ):
        fetch(server.url(), target)
    assert not target.exists() and left(target) == ["model.pkl.part", "model.pkl.part.json"]
    server.script = [answer()]
    assert fetch(server.url(), target) == SHA256 and server.ranges()[-1] == f"bytes={HALF}-"


def test_without_a_version_a_truncated_answer_is_never_continued(server, target):
    server.script = [answer(cut=HALF, etag=None)]
    with pytest.raises(CheckpointError, match=f"{HALF} bytes; 1280000 were expected.*Nothing was kept"):
        fetch(server.url(), target)
    assert server.ranges() == [None] * 3 and left(target) == []


def test_the_date_names_the_version_where_there_is_no_strong_tag(server, target):
    date = "Tue, 01 Feb 2022 10:00:00 GMT"
    server.script = [
        answer(cut=HALF, etag='W/"weak"', Last_Modified=date),
        answer(etag=date, Last_Modified=date),
    ]
    assert fetch(server.url(), target) == SHA256
    assert server.ranges()[1] == f"bytes={HALF}-" and server.requests[1]["If-Range"] == date


@pytest.mark.parametrize(
    "second",
    [
        WHOLE,
        answer(content_range="bytes 0-639999/1280000"),
        answer(content_range=f"bytes {HALF - 1}-1279999/1280000"),
        answer(content_range=f"bytes {HALF}-1279999/1280001"),
        answer(content_range="nonsense"),
        status(416),
        status(416, Content_Range="bytes */5"),
    ],
    ids=[
        "ignores Range",
        "another start",
        "a byte earlier",
        "another total",
        "no numbers",
        "416",
        "416 with a length",
    ],
)
def test_a_server_that_does_not_continue_starts_again(server, target, second):
    server.script = [answer(cut=HALF), second, answer()]
    assert fetch(server.url(), target) == SHA256 and target.read_bytes() == CONTENT
    assert server.ranges()[:2] == [None, f"bytes={HALF}-"]
    assert server.ranges()[2:] == ([] if second is WHOLE else [None])


@pytest.mark.parametrize("if_range", [True, False], ids=["honours If-Range", "ignores If-Range"])
def test_two_versions_are_never_mixed(server, target, if_range):
    new = bytes(255 - b for b in CONTENT[:256]) * 5000
    server.script = [answer(cut=HALF), answer(new, etag='"v2"', if_range=if_range)]
    assert fetch(server.url(), target) == hashlib.sha256(new).hexdigest()
    assert target.read_bytes() == new


def test_two_versions_are_never_mixed_after_an_interruption_either(server, target):
    with interruption():
        fetch(server.url(), target)
    server.script = [answer(OTHER, etag='"v2"', if_range=False)]
    fetch(server.url(), target)
    assert target.read_bytes() == OTHER


def test_a_part_of_another_address_or_with_a_damaged_note_is_not_continued(server, target):
    for damage in (None, "{", "[]", '{"url": 3}'):
        target.unlink(missing_ok=True)
        with interruption():
            fetch(server.url("elsewhere.pkl"), target)
        if damage is not None:
            (target.parent / "model.pkl.part.json").write_text(damage)
        fetch(server.url(), target)
        assert target.read_bytes() == CONTENT and server.ranges()[-1] is None


def test_a_part_that_was_damaged_is_noticed_and_fetched_once_more(server, target, capsys):
    with interruption():
        fetch(server.url(), target)
    part = target.parent / "model.pkl.part"
    part.write_bytes(b"\0" * part.stat().st_size)
    assert fetch(server.url(), target, sha256=SHA256) == SHA256 and target.read_bytes() == CONTENT
    assert server.ranges()[-1] is None and "Starting again" in capsys.readouterr().err


def test_a_complete_part_needs_no_server(server, target, monkeypatch):
    def no_rename(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download.os, "replace", no_rename)
        with pytest.raises(KeyboardInterrupt):
            fetch(server.url(), target)
    server.close()
    assert fetch(server.url(), target, sha256=SHA256) == SHA256 and target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("script", "known", "message"),
    [
        ([answer(OTHER)], {"sha256": SHA256}, f"has sha256 .*; {SHA256} was expected.*It was not kept"),
        ([answer(OTHER)], {"sha256": SHA256[:8]}, f"one that begins with {SHA256[:8]} was expected"),
        ([answer(CONTENT[:-1])], {"size": len(CONTENT)}, "1279999 bytes; 1280000 were expected"),
        ([answer(CONTENT + b"!")], {"size": len(CONTENT)}, "1280001 bytes; 1280000 were expected"),
        ([answer(CONTENT[:-1])], {"sha256": SHA256}, "was expected"),
        ([answer(CONTENT * 2, length=False)], {"size": len(CONTENT)}, "more than 1280000 bytes"),
        ([answer(CONTENT * 3, chunked=True)], {"about": len(CONTENT)}, "more than 2560000 bytes"),
        ([answer(CONTENT[:-1], length=False)], {"size": len(CONTENT)}, "1279999 bytes; 1280000 were expected"),
        ([answer(CONTENT[:-1], length=False)], {"sha256": SHA256}, "was expected"),
        ([answer(length=False)], {}, "comes without its length"),
        ([answer(cut=300_000, chunked=True, etag=None)], {}, "ended before its end"),
        ([answer(PAGE, Content_Type="text/html; charset=utf-8")], {}, r"gave a page \(text/html\)"),
        ([answer(b'{"error": 1}', Content_Type="application/json")], {}, r"gave a page \(application/json\)"),
        ([answer(PAGE, Content_Type="application/octet-stream")], {}, "is a web page, not a model"),
        ([answer(b"\xef\xbb\xbf \n<HTML>")], {}, "is a web page, not a model"),
        ([answer(b'<?xml version="1.0"?><Error>AccessDenied</Error>')], {}, "is a web page"),
        ([answer(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")], {}, "Git LFS pointer"),
        ([answer(b"")], {}, "is empty"),
        ([answer(ZIP[:-30])], {}, f"is truncated: {len(ZIP) - 30} bytes of a zip without its end"),
        ([answer(PICKLE[:-10])], {}, "is truncated: .* bytes of a pickle without its end"),
        ([answer(length="many")], {}, "comes without its length"),
        ([answer(Content_Encoding="gzip")], {}, r"compressed \(gzip\)"),
    ],
)  # fmt: skip
def test_what_is_not_the_model_is_refused_and_removed(server, target, script, known, message):
    server.script = script
    with pytest.raises(CheckpointError, match=message) as caught:
        fetch(server.url(), target, **known)
    assert left(target) == []
    assert f"save it{' (' if known else ''}" in str(caught.value) and f"as {target}." in str(caught.value)


@pytest.mark.parametrize(
    "content", [ZIP, PICKLE, _LEGACY.getvalue()], ids=["zip", "pickle", "torch before 1.6"]
)
def test_whole_files_of_every_kind_are_taken(server, target, content):
    server.script = [answer(content)]
    fetch(server.url(), target)
    assert target.read_bytes() == content


def test_a_wrong_length_is_refused_before_the_body_comes(server, target):
    server.script = [answer(CONTENT[:-1], stall=0)]
    with pytest.raises(CheckpointError, match="has 1279999 bytes; 1280000 were expected"):
        fetch(server.url(), target, size=len(CONTENT))
    assert len(server.requests) == 1 and not server.go.is_set()


def test_bytes_after_the_promised_length_are_not_the_file(server, target):
    server.script = [answer(extra=b"more")]
    fetch(server.url(), target)
    assert target.read_bytes() == CONTENT


def test_a_body_in_chunks_needs_no_length(server, target):
    server.script = [answer(chunked=True)]
    assert fetch(server.url(), target) == SHA256


def test_a_known_hash_does_without_a_length(server, target):
    server.script = [answer(length=False)]
    assert fetch(server.url(), target, sha256=SHA256[:8]) == SHA256


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
def test_a_passing_error_is_tried_again(server, target, code):
    server.script = [status(code), status(code), answer()]
    assert fetch(server.url(), target) == SHA256 and len(server.requests) == 3


@pytest.mark.parametrize(
    ("script", "message", "requests"),
    [
        ([status(404)], "404 Not Found: the file is not, or no longer, at this address", 1),
        ([status(410)], "no longer, at this address", 1),
        ([status(403)], "403 Forbidden: it asks for a permission", 1),
        ([status(401)], "asks for a permission", 1),
        ([status(400)], "the server answered 400", 1),
        ([status(204, b"")], "the server answered 204", 1),
        ([status(500)], "could not be completed: the server answered 500", 3),
        ([say(b"What do you want?\n")], "could not be completed: What do you want", 3),
        ([say(b"")], "could not be completed: Remote end closed connection", 3),
        (
            [status(206, b"abc", Content_Range="bytes 0-2/9")],
            "goes on at another place than where the part",
            3,
        ),
        ([status(302, Location="file:///etc/passwd")], "redirects", 1),
        (
            [status(302, Location="ftp://127.0.0.1/x")],
            "redirects to 'ftp://127.0.0.1/x', which is not followed",
            1,
        ),
        ([status(302, Location="/again")], "its redirects lead nowhere .*infinite loop", 5),
    ],
)
def test_an_answer_without_a_file_says_how_to_place_it_by_hand(server, target, script, message, requests):
    server.script = script
    with pytest.raises(LisError, match=message) as caught:
        fetch(server.url(), target, about=2_000_000, sha256="11ad3fa6")
    assert not isinstance(caught.value, CheckpointError)
    assert str(caught.value).endswith(
        f"To place it by hand, get {server.url()} in another way, e.g. with a browser, and save it (about 2.0 MB, "
        f"a sha256 that begins with 11ad3fa6) as {target}."
    )
    assert len(server.requests) == requests and left(target) == []


def test_a_redirect_is_followed_and_still_resumed(server, target):
    here = status(302, Location="/there")
    server.script = [here, answer(cut=HALF), here, answer()]
    assert fetch(server.url(), target) == SHA256
    assert server.ranges()[-1] == f"bytes={HALF}-"


def test_an_encrypted_address_never_becomes_a_plain_one():
    request = urllib.request.Request("https://a.example/x")
    follow = functools.partial(http_client._Redirects().redirect_request, request, None, 302, "Found", {})
    assert follow("https://b.example/x").full_url == "https://b.example/x"
    with pytest.raises(http_client.Refused, match="not followed"):
        follow("http://b.example/x")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "model.pkl", ""])
def test_other_addresses_are_not_opened(target, url):
    with pytest.raises(LisError, match="neither http nor https"):
        fetch(url, target)
    assert left(target) == []


@pytest.mark.parametrize("stall", [0, HALF])
def test_a_server_that_falls_silent_is_left(server, target, stall):
    server.script = [answer(stall=stall), answer()]
    assert fetch(server.url(), target, timeout=1) == SHA256 and target.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={stall}-" if stall else None]


def test_one_that_is_silent_from_the_start_is_asked_again(server, target):
    server.script = [lambda handler, server: server.go.wait(60), answer()]
    assert fetch(server.url(), target, timeout=1) == SHA256 and len(server.requests) == 2


def test_one_that_stays_silent_is_given_up(server, target):
    server.script = [answer(stall=0)]
    with pytest.raises(LisError, match="nothing came for too long"):
        fetch(server.url(), target, timeout=0.1)
    assert left(target) == []


def test_the_time_to_wait_is_a_variable(server, target, monkeypatch):
    server.script = [answer(stall=0)]
    monkeypatch.setenv("LIS_TIMEOUT", "0.1")
    with pytest.raises(LisError, match="nothing came for too long"):
        fetch(server.url(), target, timeout=None, attempts=1)
    for text in ("soon", "-1", "nan", "0", ""):
        monkeypatch.setenv("LIS_TIMEOUT", text)
        with pytest.raises(LisError, match="LIS_TIMEOUT is .*seconds, such as 30"):
            fetch(server.url(), target, timeout=None)


def test_a_refused_connection(target):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/model.pkl"
        with pytest.raises(
            LisError, match=f"the connection was refused .*To place it by hand, get {url} .* as {target}"
        ):
            fetch(url, target)
    assert left(target) == []


def test_an_unknown_server(target, monkeypatch):
    def nobody(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(
        LisError, match=r"name of the server is not known here.*seems to be offline\. To place it by hand"
    ):
        fetch("http://models.invalid/model.pkl", target)


def test_a_server_that_does_not_speak_tls(server, target):
    with pytest.raises(LisError, match="SSL.*To place it by hand"):
        fetch(server.url().replace("http:", "https:"), target)
    assert left(target) == []


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_server_that_cannot_prove_who_it_is(target, tmp_path):
    pem = tmp_path / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", pem, "-out", tmp_path / "cert.pem",
         "-subj", "/CN=localhost", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(LisError, match="the server can't prove who it is"):
            fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/model.pkl", target)
        thread.join()


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "model.pkl"
    with pytest.raises(
        LisError, match=f"can't write {target}.*LIS_CACHE to a folder elsewhere.*save it as {target}"
    ):
        fetch(server.url(), target)
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(server, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(LisError, match="can't write .*Permission denied.*Make the folder writable, or"):
        fetch(server.url(), tmp_path / "locked" / "model.pkl")


def test_too_little_room_is_noticed_before_anything_is_written(server, target, monkeypatch):
    free_bytes(monkeypatch, len(CONTENT) - 1)
    with pytest.raises(
        LisError, match="needs 1,280,000 bytes; .* has 1,279,999 bytes free. Make room, or .* LIS_CACHE"
    ):
        fetch(server.url(), target)
    assert left(target) == []
    free_bytes(monkeypatch, len(CONTENT))
    assert fetch(server.url(), target) == SHA256


def test_a_continued_download_needs_room_for_the_rest_only(server, target, monkeypatch):
    with interruption(9):
        fetch(server.url(), target)
    begun = (target.parent / "model.pkl.part").stat().st_size
    free_bytes(monkeypatch, len(CONTENT) - begun)
    assert fetch(server.url(), target) == SHA256


@pytest.fixture
def small_disk(request, tmp_path):
    """Return a folder where files end at 512 KiB: by a limit of this process, or a small disk if we may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "limit":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512 << 10, before[1]))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if (
        os.geteuid() != 0
        or not shutil.which("mount")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a small disk can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("small_disk", ["limit", "disk"], indirect=True)
def test_a_disk_that_fills_up_on_the_way(server, small_disk, monkeypatch):
    free_bytes(monkeypatch, 10**9)  # as if another program took the room meanwhile
    target = small_disk / "model.pkl"
    with pytest.raises(LisError, match=r"No space left|File too large") as caught:
        fetch(server.url(), target)
    assert "The part was removed. Make room, or set the environment variable LIS_CACHE" in str(caught.value)
    assert f"save it as {target}" in str(caught.value) and left(target) == []


PROCESS = """
import sys
from lis_toolkit.downloads.download import fetch
print(fetch(sys.argv[1], sys.argv[2], progress=False, pause=0.01))
"""


@pytest.mark.parametrize("killed", [False, True], ids=["both live", "the first is killed"])
def test_two_processes_that_want_the_same_file(server, target, killed, monkeypatch):
    server.script = [answer(stall=HALF), answer()]
    told, results = threading.Event(), []
    monkeypatch.setattr(file_lock.tqdm, "write", lambda text, **options: results.append(text) or told.set())
    command = [sys.executable, "-c", PROCESS, server.url(), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            while not server.requests:
                assert other.poll() is None
                time.sleep(0.01)
            thread = threading.Thread(target=lambda: results.append(fetch(server.url(), target)))
            thread.start()
            assert told.wait(60)
            if killed:
                while (target.parent / "model.pkl.part").stat().st_size < HALF:
                    time.sleep(0.01)
                other.send_signal(signal.SIGKILL)  # the system gives its lock to us
            else:
                server.go.set()
                assert other.communicate(timeout=60)[0].strip() == SHA256
            thread.join(60)
        finally:
            other.kill()
    assert results == ["model.pkl is being downloaded by another process; waiting for it.", SHA256]
    assert target.read_bytes() == CONTENT and left(target) == ["model.pkl"]
    assert server.ranges() == ([None, f"bytes={HALF}-"] if killed else [None])


def test_threads_wait_for_each_other_too(server, target):
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch(server.url(), target))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [SHA256] * 6 and len(server.requests) == 1 and left(target) == ["model.pkl"]


def test_a_lock_is_exclusive_and_leaves_nothing(tmp_path):
    inside, most = [], []

    def work():
        with locked(tmp_path / "x", "x") as alone:
            inside.append(1)
            most.append((len(inside), alone))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [(1, True)] * 30 and not list(tmp_path.iterdir())


def test_who_waited_for_a_lock_that_was_removed_asks_for_the_new_one(tmp_path, monkeypatch):
    told, events = threading.Event(), []
    monkeypatch.setattr(file_lock.tqdm, "write", lambda *arguments, **options: told.set())

    def work():
        with locked(tmp_path / "x", "x"):
            events.append("inside")

    def take():
        handle = os.open(tmp_path / ".x.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle

    first = take()
    thread = threading.Thread(target=work)
    thread.start()
    assert told.wait(20)
    (tmp_path / ".x.lock").unlink()
    second = take()
    os.close(first)  # the thread gets this one now, which is nobody's any more
    thread.join(0.2)
    events.append("released")
    os.close(second)
    thread.join(20)
    assert events == ["released", "inside"]


def test_without_locks_a_part_has_a_name_of_its_own_and_goes(server, target, monkeypatch):
    monkeypatch.setattr(file_lock, "_LOCKS", False)
    with interruption():
        fetch(server.url(), target)
    assert left(target) == []
    assert fetch(server.url(), target) == SHA256 and left(target) == ["model.pkl"]
