"""The inert interpreter gives what the real pickle and the real torch give, wherever nothing needs to be called."""

from __future__ import annotations

import datetime
import decimal
import io
import math
import pickle
import random
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan import inert_numbers
from lis_toolkit.stylegan.inert_pickle import LONG, LatinBytes, LongText, Name, Record, read_pickle
from lis_toolkit.stylegan.torch_storage import CheckpointFile, all_finite

PROTOCOLS = st.integers(0, 5)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
KEYS = st.one_of(
    st.text(), st.integers(-(2**62), 2**62), st.binary(max_size=4), st.tuples(st.integers(0, 9), st.text())
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(KEYS, inner, max_size=5),
        st.dictionaries(st.text(), inner, max_size=3).map(OrderedDict),
        st.sets(KEYS, max_size=5),
        st.frozensets(KEYS, max_size=5),
    ),
    max_leaves=30,
)


def read(data: bytes) -> Any:
    value, end = read_pickle(memoryview(data), "file.pkl")
    assert end == len(data)
    return value


@settings(max_examples=300, deadline=None)
@given(VALUES, PROTOCOLS)
def test_containers_are_those_of_the_real_pickle(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    mine = read(data)
    assert mine == value == pickle.loads(data)
    assert type(mine) in (type(value), dict)


@pytest.mark.parametrize("protocol", range(6))
def test_python_s_own_writer_and_shared_objects(protocol: int) -> None:
    inner: list[Any] = [1, "a" * 300]
    value = {"a": inner, "b": [inner, (inner, inner), {}], 2.5: True, "many": list(range(3000)), "e": set()}
    file = io.BytesIO()
    pickle._Pickler(file, protocol).dump(value)  # type: ignore[attr-defined]
    for data in (file.getvalue(), pickle.dumps(value, protocol)):
        mine = read(data)
        assert mine == value and mine["a"] is mine["b"][0] is mine["b"][1][1]
    inner.append(inner)
    mine = read(pickle.dumps(inner, protocol))
    assert mine[2] is mine and mine[:2] == inner[:2]


@pytest.mark.parametrize("protocol", range(6))
def test_calls_and_instances_become_records(protocol: int) -> None:
    value = [
        datetime.date(2024, 1, 2),
        decimal.Decimal("1.5"),
        Path("/x"),
        math.sqrt,
        random.Random,
        {1: Example(3)},
    ]
    mine = read(pickle.dumps(value, protocol))
    assert mine[0].name == Name("datetime", "date") and mine[1].name == Name("decimal", "Decimal")
    assert mine[1].args == ("1.5",)
    assert mine[3] == Name("math", "sqrt") and mine[4] == Name("random", "Random")
    example = mine[5][1]
    if protocol >= 2:
        assert isinstance(example, Record) and example.name.name == "Example" and example.state == {"x": 3}
    assert read(pickle.dumps(defaultdict(list, {1: [2]}), protocol)) == {1: [2]}
    assert read(pickle.dumps(bytearray(b"abc"), protocol)) == b"abc"


class Example:
    def __init__(self, x: int):
        self.x = x


@pytest.mark.parametrize("protocol", range(2, 6))
def test_long_byte_strings_and_texts_stay_in_the_file(protocol: int) -> None:
    data = pickle.dumps({"b": bytes(range(256)) * LONG, "t": "é" * LONG}, protocol)
    mine = read(data)
    assert isinstance(mine["t"], LongText) and bytes(mine["t"].data).decode() == "é" * LONG
    if protocol < 3:
        assert isinstance(mine["b"], LatinBytes)
    else:
        assert isinstance(mine["b"], memoryview) and bytes(mine["b"]) == bytes(range(256)) * LONG


def test_records_describe_themselves_shortly() -> None:
    record = read(b"cos\nsystem\n(S'ls'\ntR.")
    assert repr(record) == "<inert os.system>" and record.args == ("ls",) and record.offset == 19
    deep: Any = None
    for _ in range(3):
        deep = (deep,)
    assert repr(Record(Name("a" * 500, "b"), (deep,))).count("a") < 130


@pytest.mark.parametrize("where", [0, 1, 5])
def test_errors_name_file_and_byte(where: int) -> None:
    with pytest.raises(CheckpointError, match=rf"file\.pkl: byte {where}: 0xff is no operation"):
        read(b"N" * where + b"\xff")


# --- numbers ---


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", "bool"]
    ),
    st.sampled_from(["<", ">"]),
    st.lists(st.integers(0, 1), min_size=1, max_size=8),
    PROTOCOLS,
)
def test_numbers_of_numpy(kind: str, order: str, values: list[int], protocol: int) -> None:
    array = np.array(values).astype(np.dtype(kind).newbyteorder(order))
    assert inert_numbers.numbers(read(pickle.dumps(array, protocol))) == array.tolist()
    scalar = array[0]
    assert inert_numbers.number(read(pickle.dumps(scalar, protocol))) == scalar
    zero = np.array(scalar)  # an array without dimensions
    assert inert_numbers.number(read(pickle.dumps(zero, protocol))) == scalar


@pytest.mark.parametrize(
    "value",
    [
        "3",
        None,
        [1, "a"],
        {},
        np.array(["a"]),
        np.array([1, None]),
        np.zeros(65),
        1j,
        np.complex64(1),
        [[1, 2]],
    ],
    ids=str,
)
def test_what_is_no_number(value: Any) -> None:
    mine = read(pickle.dumps(value, 4))
    assert inert_numbers.number(mine) is None and inert_numbers.numbers(mine) is None


def test_whole_and_real() -> None:
    assert inert_numbers.whole(3.0) == 3 and inert_numbers.whole(3.5) is None
    assert inert_numbers.whole(True) is None and inert_numbers.real(True) is None
    assert inert_numbers.real(3) == 3.0 and inert_numbers.real(10**400) is None
    assert inert_numbers.whole(math.inf) is None


# --- tensors ---

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(SHAPES)
    x = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape).to(draw(DTYPES))
    if x.ndim and draw(st.booleans()):
        x = x.transpose(0, -1)
    if x.ndim and draw(st.booleans()):
        x = x[draw(st.integers(0, 1)) :: draw(st.integers(1, 2))]
    return torch.nn.Parameter(x, draw(st.booleans())) if draw(st.booleans()) else x


@settings(max_examples=60, deadline=None)
@given(values=st.lists(tensors(), max_size=4), layout=st.sampled_from(["zip", "legacy", 1, 2, 3, 4, 5]))
def test_tensors_are_those_of_torch(values: list[torch.Tensor], layout: Any, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "tensors.pkl"
    content = {"x": values, "again": values[:1], "rest": [v[:1] for v in values if v.ndim]}  # shares storages
    if isinstance(layout, int):
        path.write_bytes(pickle.dumps(content, layout))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=layout == "zip")
    file = CheckpointFile(path)
    for key, group in content.items():
        for mine, real in zip(file.value[key], group, strict=True):
            found = file.tensor(mine, "x", tuple(real.shape))
            assert found.dtype == real.dtype and torch.equal(found, real.detach())


def test_modules_of_torch_become_records_with_their_weights(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(2, 2))
    for i, data in enumerate((pickle.dumps(network, 2), pickle.dumps(network, 5))):
        (tmp_path / f"{i}.pkl").write_bytes(data)
        file = CheckpointFile(tmp_path / f"{i}.pkl")
        layers = file.value.state["_modules"]
        assert file.value.name == Name("torch.nn.modules.container", "Sequential") and list(layers) == [
            "0",
            "1",
            "2",
        ]
        weight = file.tensor(layers["0"].state["_parameters"]["weight"], "weight")
        assert torch.equal(weight, network[0].weight)
        with pytest.raises(CheckpointError, match="count holds int64"):
            file.tensor(layers["1"].state["_buffers"]["num_batches_tracked"], "count")


def test_a_discriminator_costs_nothing(tmp_path: Path) -> None:
    """Only what is asked for is read: 400 MB that nobody asks for are never allocated."""
    import tracemalloc

    path = tmp_path / "large.pkl"
    with open(path, "wb") as file:  # a sparse file: one small tensor behind a byte string of 400 MB
        head = b"\x80\x04}(X\x01\x00\x00\x00D\x8e" + (400 * 10**6).to_bytes(8, "little")
        file.write(head)
        file.seek(len(head) + 400 * 10**6)
        file.write(b"X\x05\x00\x00\x00G_ema" + pickle.dumps(torch.arange(4.0), 2)[2:-1] + b"u.")
    tracemalloc.start()
    try:
        content = CheckpointFile(path)
        assert torch.equal(content.tensor(content.value["G_ema"], "x"), torch.arange(4.0))
        assert len(content.value["D"]) == 400 * 10**6
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([1.0, -2.0], True),
        ([], True),
        ([3e38] * 9, None),  # finite in float32 although the sum is not
        ([1.0, math.nan], False),
        ([math.inf, 1.0], False),
        ([math.inf, -math.inf], False),
    ],
)
def test_what_is_finite(values: list[float], finite: bool | None, dtype: torch.dtype) -> None:
    x = torch.tensor(values).to(dtype)
    assert (
        all_finite(x)
        == bool(torch.isfinite(x).all())
        == (dtype != torch.float16 if finite is None else finite)
    )


def test_one_storage_does_not_become_many_times_the_file(tmp_path: Path) -> None:
    storage = torch.zeros(2**20)
    torch.save({i: storage[: 2**20 - i] for i in range(40)}, tmp_path / "shared.pt")
    file = CheckpointFile(tmp_path / "shared.pt")
    with pytest.raises(CheckpointError, match="share their storages"):
        for i in range(40):
            file.tensor(file.value[i], f"weight {i}")
    assert 3 <= i <= 6  # four times the file, and a megabyte
    assert file.shape(file.value[9], "weight 9") == (2**20 - 9,)
