import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.files import (
    atomic_path,
    load_tensors,
    provenance,
    save_tensors,
    sha256_file,
    sha256_tensors,
)


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir())


def test_atomic_path_writes_and_creates_folders(tmp_path):
    target = tmp_path / "a" / "b" / "metrics.json"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".json"
        temporary.write_text("1")
        assert not target.exists()
    assert target.read_text() == "1" and leftovers(target.parent) == ["metrics.json"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_atomic_path_keeps_the_old_file_after_an_error_or_interruption(tmp_path, error):
    target = tmp_path / "link.bin"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old" and leftovers(tmp_path) == ["link.bin"]


def test_atomic_path_says_that_a_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LisError, match="can't write .*file/out.txt"),
        atomic_path(tmp_path / "file" / "out.txt") as t,
    ):
        t.write_text("")
    with pytest.raises(LisError, match="it is a folder"), atomic_path(tmp_path) as t:
        t.write_text("")
    with pytest.raises(LisError, match="can't write"), atomic_path(tmp_path / "never.txt"):
        pass  # the block wrote nothing
    assert leftovers(tmp_path) == ["file"]


def test_sha256_file(tmp_path):
    (tmp_path / "f").write_bytes(b"lis" * 1_000_000)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(b"lis" * 1_000_000).hexdigest()
    with pytest.raises(LisError, match="can't read"):
        sha256_file(tmp_path / "missing")


def slow_tensor_hash(tensors):
    text = b""
    for name in sorted(tensors):
        t = tensors[name]
        text += f"{name} {t.dtype} {tuple(t.shape)}\n".encode()
        text += np.ascontiguousarray(t.numpy()).tobytes()
    return hashlib.sha256(text).hexdigest()


def test_sha256_tensors_against_the_slow_way_and_its_invariances():
    a, b = torch.randn(3, 4, 5, 2), torch.arange(6)
    tensors = {
        "b": b,
        "a": a,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "flag": torch.tensor([True]),
    }
    digest = sha256_tensors(tensors)
    assert digest == slow_tensor_hash(tensors)
    assert digest == sha256_tensors(dict(sorted(tensors.items())))
    assert digest == sha256_tensors({**tensors, "a": a.to(memory_format=torch.channels_last)})
    changes = [{"a": a + 1e-6}, {"a": a.double()}, {"b": b.reshape(2, 3)}, {"c": b}]
    assert len({digest, *(sha256_tensors({**tensors, **c}) for c in changes)}) == 5
    assert sha256_tensors({"x": torch.ones(2, dtype=torch.bfloat16, requires_grad=True)})


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4),
    metadata=st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=4
    ),
)
def test_tensors_and_metadata_come_back(tmp_path_factory, shapes, metadata):
    path = tmp_path_factory.mktemp("t") / "x.safetensors"
    tensors = {f"t{i}": torch.randn(shape) for i, shape in enumerate(shapes)}
    save_tensors(path, tensors, metadata)
    back, described = load_tensors(path)
    assert described == metadata and back.keys() == tensors.keys()
    assert all(torch.equal(back[k], t) for k, t in tensors.items())


def test_views_and_transposes_are_saved_as_their_values(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    save_tensors(tmp_path / "x.safetensors", {"whole": base, "row": base[1], "t": base.T}, {})
    back, _ = load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(back["row"], base[1]) and torch.equal(back["t"], base.T)


def test_damaged_files_say_so(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(100)}, {"k": 1})
    whole = path.read_bytes()
    for content in (
        b"",
        b"short",
        whole[:50],
        whole[:-1],
        b"\x80\x04pickle" * 20,
        whole.replace(b'{\\"k', b'{{\\"'),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.safetensors"):
            load_tensors(path)
    with pytest.raises(CheckpointError, match="no file"):
        load_tensors(tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError):
        load_tensors(tmp_path)


def test_metadata_must_be_a_json_object(tmp_path):
    with pytest.raises(LisError, match="not JSON"):
        save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"k": torch.zeros(1)})
    assert leftovers(tmp_path) == []
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors", metadata={"lis": "[1]"})
    with pytest.raises(CheckpointError, match="list metadata"):
        load_tensors(tmp_path / "y.safetensors")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "z.safetensors")
    assert load_tensors(tmp_path / "z.safetensors")[1] == {}


def test_save_tensors_into_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LisError, match="can't write"):
        save_tensors(tmp_path / "file" / "x.safetensors", {"a": torch.zeros(1)}, {})


def test_provenance_is_json_with_versions_and_date():
    record = provenance(seed=3)
    assert json.loads(json.dumps(record)) == record
    assert {"lis_toolkit", "torch", "numpy", "date", "seed"} <= record.keys()
