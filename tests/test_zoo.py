import contextlib
import hashlib
import http.server
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit import zoo
from lis_toolkit.errors import CheckpointError, LisError

BUNDLED = {
    ("fashion", "generator"): "fashion-generator.safetensors",
    ("fashion", "classifier"): "fashion-classifier.safetensors",
    ("fashion-judge", "judge"): "fashion-judge.safetensors",
}
CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on loopback for one made-up model, `model(path, ...)`, and an empty cache folder."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/missing"):
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path.startswith("/half") else CONTENT)

        def log_message(self, *arguments):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "cache"))

    def model(path, size=None, sha256=None):
        url = f"http://127.0.0.1:{httpd.server_port}/{path}"
        entry = zoo.Entry("toy", "generator", path, url, size, sha256, "MIT", "made up")
        monkeypatch.setattr(zoo, "_ENTRIES", (entry,))
        return entry

    yield model
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_the_bundled_models_are_listed_with_size_hash_and_licence():
    listed = {(e.name, e.kind): e for e in zoo.entries() if e.url is None}
    assert {k: e.file for k, e in listed.items()} == BUNDLED
    for entry in listed.values():
        assert entry.available, f"{entry.path} is missing"
        data = entry.path.read_bytes()
        assert (
            entry.size == len(data)
            and entry.sha256 == hashlib.sha256(data).hexdigest()
            and entry.licence == "MIT"
        )


def test_names_are_unique_within_a_kind_and_addresses_are_https():
    keys = [(e.name, e.kind) for e in zoo.entries()]
    assert len(set(keys)) == len(keys) and all(kind in zoo.KINDS for _, kind in keys)
    assert all(e.url is None or e.url.startswith("https://") for e in zoo.entries())


def test_locate_takes_names_and_paths(tmp_path):
    for (name, kind), file in BUNDLED.items():
        assert zoo.locate(name, kind) == zoo.MODELS_FOLDER / file
    assert zoo.locate("fashion-judge", ("classifier", "judge")).name == "fashion-judge.safetensors"
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"x")
    assert zoo.locate(own, "generator") == own and zoo.locate(str(own), "judge") == own


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("fashon", "classifier", r"no classifier 'fashon'.*Did you mean 'fashion'\? A path"),
        ("imagenet257", "generator", "Did you mean 'imagenet256'"),
        ("fashion-judge", "generator", "no generator 'fashion-judge'"),
        ("fashion.safetensors", "classifier", "no classifier file"),
        ("/nowhere/x", "classifier", "no classifier file /nowhere/x"),
        ("/tmp", "generator", "it is a folder"),
        ("", "generator", "given by a name or a path"),
        (None, "generator", "given by a name or a path"),
        (3, "generator", "got 3"),
    ],
)
def test_locate_says_what_is_wrong(name, kind, message):
    with pytest.raises(LisError, match=message):
        zoo.locate(name, kind)


@settings(max_examples=50, deadline=None)
@given(name=st.text(max_size=20))
def test_locate_any_text_is_a_file_or_a_lis_error(name):
    with contextlib.suppress(LisError):
        assert zoo.locate(name, "generator").is_file()


def test_download_checks_and_keeps(server):
    entry = server("toy.pkl", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    with pytest.raises(LisError, match=r"not on this machine yet: lis_toolkit\.zoo\.download\('toy'\)"):
        zoo.locate("toy", "generator")
    assert zoo.download("toy", progress=False).read_bytes() == CONTENT
    assert zoo.locate("toy", "generator") == entry.path
    entry.path.write_bytes(b"mine")
    assert zoo.download("toy", progress=False).read_bytes() == b"mine"  # not fetched again


@pytest.mark.parametrize(
    ("path", "size", "sha256", "message"),
    [
        ("half.pkl", None, None, "640000 bytes; 1280000 were expected|broke off"),
        ("toy.pkl", 5, None, "1280000 bytes; 5 were expected"),
        ("toy.pkl", None, "0" * 64, "was expected. It was not kept"),
        ("missing.pkl", None, None, "404"),
    ],
)
def test_a_bad_download_leaves_nothing(server, path, size, sha256, message):
    entry = server(path, size, sha256)
    with pytest.raises(LisError, match=message) as caught:
        zoo.download("toy", progress=False)
    assert isinstance(caught.value, CheckpointError) == ("missing" not in path)
    assert not entry.path.parent.exists() or not list(entry.path.parent.iterdir())


def test_an_interrupted_download_leaves_nothing(server, monkeypatch):
    entry = server("toy.pkl")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        zoo.download("toy", progress=False)
    assert list(entry.path.parent.iterdir()) == []


def test_download_into_a_place_that_cannot_be_written(server, tmp_path, monkeypatch):
    server("toy.pkl")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(LisError, match="can't write"):
        zoo.download("toy", progress=False)


def test_download_knows_only_what_can_be_downloaded():
    for name in ("fashion", "imagnet256", "", None):
        with pytest.raises(LisError, match="can't be downloaded"):
            zoo.download(name)


def test_cache_folder(monkeypatch):
    monkeypatch.delenv("LIS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(zoo.cache_folder()) == "/x/lis_toolkit"
    monkeypatch.setenv("LIS_CACHE", "/y")
    assert str(zoo.cache_folder()) == "/y"
