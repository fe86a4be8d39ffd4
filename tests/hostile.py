"""Hostile and broken checkpoint files, and a word of the reason for which each has to be refused.

`corpus(mark)` gives {name: (content, reason)}. What is in `ACTING` would create the file `mark` under the real pickle.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import operator
import os
import pathlib
import pickle
import runpy
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LinearRegression

from official import Persistent, authors_packages, dumps, official_generator

ACTING = (
    "os.system", "subprocess", "eval", "exec", "open", "write_text", "getattr chain", "import and attrgetter",
    "reduce", "nested pickle", "INST", "OBJ", "protocol 0", "set state", "in a dictionary's key",
    "in an attribute nobody reads", "a network", "a module", "a weight", "a size", "layer names", "the record",
)  # fmt: skip


class Call:
    """Something whose unpickling calls a function."""

    def __init__(self, function: Any, *args: Any):
        self.parts = (function, args)

    def __reduce__(self) -> Any:
        return self.parts


def generator_with(change: Callable[[Any], Any]) -> bytes:
    """A sound official file but for one change."""
    generator = official_generator()
    change(generator)
    return dumps({"G_ema": generator})


def attribute(path: str, name: str, value: Any) -> bytes:
    return generator_with(lambda g: g.get_submodule(path).__dict__.__setitem__(name, value))


def child(path: str, name: str, value: Any) -> bytes:
    return generator_with(lambda g: g.get_submodule(path)._modules.__setitem__(name, value))


def weight(value: Any) -> bytes:
    """Another thing as a weight of the mapping."""
    return generator_with(lambda g: g.mapping.fc1._parameters.__setitem__("bias", value))


def storage(count: int) -> Any:
    return torch.storage.TypedStorage(
        wrap_storage=torch.zeros(count).untyped_storage(), dtype=torch.float32, _internal=True
    )


def blob(value: bytes) -> bytes:
    """A weight whose storage is loaded from these bytes."""
    source = Call(torch.storage._load_from_bytes, value)
    return weight(Call(torch._utils._rebuild_tensor_v2, source, 0, (36,), (1,), False, {}))


def tensor(size: Any, stride: Any, offset: Any = 0, source: Any = None) -> bytes:
    """A view of a storage of four numbers."""
    source = storage(4) if source is None else source
    return weight(Call(torch._utils._rebuild_tensor_v2, source, offset, size, stride, False, {}))


def saved(value: Any, zipped: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def repack(data: bytes, method: int = zipfile.ZIP_STORED, **replaced: bytes | None) -> bytes:
    """Write a zip archive anew, with other entries: {end of the name: content, or None to leave it out}."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(result, "w", method) as new:
        for info in old.infolist():
            end = info.filename.split("/", 1)[1].replace("/", "_").replace(".", "_")
            content = replaced.get(end, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return result.getvalue()


def calls(mark: str) -> dict[str, tuple[bytes, str]]:
    """Files that call functions, at the top or where something is needed."""
    touch = f"touch {mark}"
    python = f"open({mark!r}, 'w').write('ran')"
    system = Call(os.system, touch)
    text = touch.encode()
    chain = b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'" + text + b"'\ntR."
    attrgetter = (
        b"coperator\nattrgetter\n(S'system'\ntR(cimportlib\nimport_module\n(S'os'\ntRtR(S'" + text + b"'\ntR."
    )
    assert operator.attrgetter and importlib.import_module and builtins.getattr
    with authors_packages():
        record = pickle.dumps({"G_ema": Call(os.system, touch)}, 4)
    top = "expected a dictionary"
    return {
        "os.system": (pickle.dumps(system, 2), f"inert posix.system>, {top}"),
        "subprocess": (pickle.dumps(Call(subprocess.call, ["touch", mark]), 4), f"inert subprocess.call>, {top}"),
        "eval": (pickle.dumps(Call(eval, python), 4), f"inert builtins.eval>, {top}"),
        "exec": (pickle.dumps(Call(exec, python), 5), f"inert builtins.exec>, {top}"),
        "open": (pickle.dumps(Call(open, mark, "w"), 3), f"inert io.open>, {top}"),
        "write_text": (
            b"\x80\x04cpathlib\nPath.write_text\n(cpathlib\nPath\n(V" + mark.encode() + b"\ntRVx\ntR.",
            f"Path.write_text>, {top}",
        ),
        "runpy": (pickle.dumps(Call(runpy.run_path, mark), 4), f"inert runpy.run_path>, {top}"),
        "getattr chain": (chain, f"inert result of an inert record>, {top}"),
        "import and attrgetter": (attrgetter, f"inert result of an inert record>, {top}"),
        "reduce": (
            pickle.dumps(Call(functools.reduce, operator.call, [os.system, touch]), 4) if hasattr(operator, "call")
            else pickle.dumps(system, 4),
            top,
        ),
        "nested pickle": (pickle.dumps(Call(pickle.loads, pickle.dumps(system)), 4), f"_pickle.loads>, {top}"),
        "torch.load": (pickle.dumps(Call(torch.load, mark), 4), f"torch.serialization.load>, {top}"),
        "INST": (b"(S'" + text + b"'\nios\nsystem\n.", f"os.system>, {top}"),
        "OBJ": (b"(cos\nsystem\nS'" + text + b"'\no.", f"os.system>, {top}"),
        "NEWOBJ_EX": (
            b"\x80\x04csubprocess\nPopen\n)}X\x04\x00\x00\x00args](X\x05\x00\x00\x00touchX"
            + struct.pack("<I", len(mark)) + mark.encode() + b"es\x92.",
            f"subprocess.Popen>, {top}",
        ),
        "protocol 0": (pickle.dumps(system, 0), f"posix.system>, {top}"),
        "set state": (
            b"\x80\x02cfunctools\npartial\n(cbuiltins\nprint\nt\x81(cos\nsystem\n(S'" + text + b"'\nt}Ntb)R.",
            f"inert result of an inert record>, {top}",
        ),
        "in a dictionary's key": (pickle.dumps({Call(os.system, touch): 1}, 4), "no 'G_ema' but <inert posix.system>"),
        "a network": (record, "G_ema is"),
        "a module": (child("", "mapping", Call(os.system, touch)), "mapping is <inert posix.system>"),
        "a weight": (weight(Call(os.system, touch)), "fc1.bias is <inert posix.system>, expected a tensor"),
        "a size": (attribute("mapping", "z_dim", Call(os.system, touch)), "z_dim is <inert posix.system>"),
        "layer names": (
            attribute("synthesis", "layer_names", Call(os.system, touch)), "layer_names is <inert posix.system>"
        ),
        "the record": (child("", "mapping", Call(exec, python)), "mapping is <inert builtins.exec>"),
        "in an attribute nobody reads": (
            generator_with(lambda g: (setattr(g, "x", Call(os.system, touch)), g._modules.pop("mapping"))),
            "no module 'mapping'",
        ),
    }  # fmt: skip


def _storages(mark: str) -> dict[str, tuple[bytes, str]]:
    """Files whose storages are not what they seem."""
    system = Call(os.system, f"touch {mark}")
    legacy = saved(storage(36))
    parts = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    zipped = saved(storage(36), True)
    whole = saved({"G_ema": torch.zeros(4)}, True)
    big = b"".join(parts[:2]) + pickle.dumps({"little_endian": False}, 2) + legacy[len(b"".join(parts)) :]
    return {
        "pickle in a storage": (blob(pickle.dumps(system)), "begins with <inert posix.system>|truncated"),
        "call in a storage's object": (blob(b"".join(parts) + pickle.dumps(system) + pickle.dumps([])), "system>"),
        "call in a storage's header": (blob(parts[0] + parts[1] + pickle.dumps(system) * 2), "expected what torch"),
        "call as a storage's keys": (
            blob(b"".join(parts) + legacy_object() + pickle.dumps(system)), "its storages as <inert posix.system>"
        ),
        "call in a zip storage": (blob(repack(zipped, data_pkl=pickle.dumps(system))), "is <inert posix.system>"),
        "storage loaded from a text": (blob("text"), "'text', expected bytes"),  # type: ignore[arg-type]
        "compressed storage": (blob(repack(zipped, zipfile.ZIP_DEFLATED)), "is compressed"),
        "zip bomb": (
            repack(whole, zipfile.ZIP_DEFLATED, data_pkl=b"\x80\x02" + b"N0" * 2**22 + b"N."), "is compressed"
        ),
        "zip without pickle": (repack(whole, data_pkl=None), "0 entries data.pkl"),
        "zip without storage": (
            repack(saved({"G_ema": official_weights()}, True), data_0=None), "G_ema is a|expected the record"
        ),
        "zip in another byte order": (repack(whole, byteorder=b"big"), "byte order"),
        "zip cut short": (whole[:-30], "no directory|damaged"),
        "zip that declares more": (lengthen(whole), "the file ends before|damaged|beyond"),
        "zip with a call": (repack(whole, data_pkl=pickle.dumps({"G_ema": system})), "inert posix.system"),
        "storage in another byte order": (blob(big), "byte order"),
        "storage cut short": (blob(legacy[:-4]), "declares 36 numbers and holds 36"),
        "storage of another length": (
            blob(legacy.replace(struct.pack("<q", 36), struct.pack("<q", 2**40))), "declares 36 numbers"
        ),
        "storage with another key": (blob(b"".join(parts) + legacy_object() + pickle.dumps(["other"])), "lists its"),
        "storage with a huge count": (
            blob(b"".join(parts) + legacy_object(2**50) + pickle.dumps(["0"])), "a storage has"
        ),
        "storage of an unknown type": (
            blob(b"".join(parts) + legacy_object(kind="os\nsystem") + pickle.dumps(["0"])), "expected a torch storage"
        ),
        "storage with two descriptions": (
            blob(b"".join(parts) + b"(" + legacy_object()[2:-1] + legacy_object(37)[2:-1] + b"t."), "described twice"
        ),
        "10^9 numbers of one": (tensor((10**9,), (0,)), r"fc1.bias has .1000000000., expected .36."),
        "a view that repeats": (tensor((36,), (0,)), "but its storage has 4 numbers"),
        "a view beyond the end": (tensor((36,), (1,)), "but its storage has 4 numbers"),
        "an offset beyond the end": (tensor((36,), (1,), 10**10), "storage has 4"),
        "a negative offset": (tensor((36,), (1,), -4), "offset has -4"),
        "a negative size": (tensor((-36,), (1,)), "size has -36"),
        "a negative stride": (tensor((36,), (-1,)), "stride has -1"),
        "a size of 10^30": (tensor((10**30,), (1,)), "size has 1000000"),
        "a truth value as size": (tensor((True,), (1,)), "size has True"),
        "a thousand dimensions": (tensor((1,) * 1000, (1,) * 1000), "size is a tuple of 1000"),
        "more sizes than strides": (tensor((36,), (1, 1)), "1 sizes and 2 strides"),
        "whole numbers as weights": (weight(torch.zeros(36, dtype=torch.int64)), "holds int64"),
        "weights that are not finite": (weight(torch.full((36,), float("inf"))), "NaN or infinite"),
        "a storage that is a number": (tensor((36,), (1,), 0, 7), "is 7, expected a torch storage"),
        "a tensor with too few arguments": (weight(Call(torch._utils._rebuild_tensor_v2, 1)), "expected a tensor"),
        "a parameter of itself": (weight(Call(torch._utils._rebuild_parameter, 1, 2, 3)), "expected a tensor"),
    }  # fmt: skip


def legacy_object(count: int = 36, kind: str = "torch\nFloatStorage") -> bytes:
    """The object pickle of a storage, as legacy files have it."""
    number = pickle.dumps(count, 2)[2:-1]
    return (
        b"\x80\x02(X\x07\x00\x00\x00storagec"
        + kind.encode()
        + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + number
        + b"tQ."
    )


def official_weights() -> torch.Tensor:
    return official_generator().mapping.fc0.weight


def lengthen(data: bytes) -> bytes:
    """Let the first entry of a zip directory declare a terabyte."""
    place = data.find(b"PK\x01\x02")
    return data[: place + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + data[place + 28 :]


def _machines() -> dict[str, tuple[bytes, str]]:
    """Files that abuse the pickle machine itself."""
    sound = dumps({"G_ema": official_generator()})
    cuts = {
        f"cut at {share:.0%}": (sound[: int(len(sound) * share)], "truncated|web page|begins with")
        for share in (0.0001, 0.01, 0.2, 0.5, 0.77, 0.99, 0.99999)
    }
    sizes = struct.pack("<Q", 2**63)
    return cuts | {
        "garbage behind the end": (sound + b"garbage", "7 bytes follow the end"),
        "second pickle behind the end": (sound + sound, "bytes follow the end"),
        "no end": (sound[:-1], "truncated"),
        "empty stack": (b"\x80\x04R.", "empty stack"),
        "nothing at the end": (b"\x80\x04.", "empty stack"),
        "no mark": (b"\x80\x04Nt.", "no mark"),
        "values left": (b"\x80\x04NN.", "left on the stack"),
        "protocol 9": (b"\x80\x09N.", "protocol 9"),
        "no operation": (b"\x80\x04\xff.", "no operation"),
        "bytes of 2^63": (b"\x80\x04\x8e" + sizes + b".", "are declared"),
        "text of 2^63": (b"\x80\x04\x8d" + sizes + b".", "are declared"),
        "byte array of 2^63": (b"\x80\x05\x96" + sizes + b".", "are declared"),
        "frame of 2^63": (b"\x80\x04\x95" + sizes + b"N.", "a frame of"),
        "bytes of 2^32": (b"\x80\x03B\xff\xff\xff\xff.", "are declared"),
        "integer of 2^31 bytes": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "whole number of 2147483647 bytes"),
        "integer of 2^20 bytes": (b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b".", "of 1048576 bytes"),
        "a million digits": (b"L" + b"9" * 10**6 + b"L\n.", "a line of more than"),
        "number that is none": (b"I12_3\n.", "no whole number"),
        "text without end": (b"S'" + b"a" * 10**6, "a line of more than"),
        "text without quotes": (b"Sabc\n.", "no quotation marks"),
        "text that is not UTF-8": (b"\x80\x04\x8c\x02\xff\xfe.", "not UTF-8"),
        "memo place 2^31": (b"\x80\x02Nr\x00\x00\x00\x80j\x00\x00\x00\x80r\xff\xff\xff\xff0.", "holds None"),
        "memo never set": (b"\x80\x02j\xff\xff\xff\x7f.", "never put there"),
        "memo place -1": (b"Np-1\n.", "no place -1"),
        "memo of an empty stack": (b"\x80\x04\x94.", "stack is empty"),
        "memo flood": (b"\x80\x04N" + b"\x94" * 600_000 + b".", "values are remembered"),
        "dictionaries without end": (b"}" * 1_000_000, "would take more than|wait on the stack"),
        "sets without end": (b"\x80\x04" + b"\x8f0" * 500_000 + b"N.", "would take more than"),
        "operations without end": (b"\x80\x04" + b"N0" * 1_600_000 + b"N.", "operations"),
        "marks without end": (b"\x80\x04" + b"(" * 500_000, "would take more than|wait on the stack"),
        "lists in lists": (b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".", "holds a list of 1, expected a dict"),
        "tuples in tuples": (b"\x80\x04N" + b"\x85" * 500_000 + b".", "holds a tuple of 1, expected a dict"),
        "tuples in tuples as a key": (b"\x80\x04}N" + b"\x85" * 500_000 + b"Ns.", "a key is"),
        "list as a key": (b"\x80\x04}]Ns.", "a key is a list"),
        "keys chosen to collide": (colliding(), "63 bits at most"),
        "a key without value": (b"\x80\x04}(Nu.", "no value"),
        "list that holds itself": (b"\x80\x04]\x94h\x00a.", "holds a list of 1"),
        "dictionary that holds itself": (b"\x80\x04}\x94X\x05\x00\x00\x00G_emah\x00s.", "G_ema is a dict"),
        "copies of copies": (copies(), "would take more than"),
        "extension code 1": (b"\x80\x02\x82\x01.", "extension code"),
        "extension code 2": (b"\x80\x02\x83\x01\x01.", "extension code"),
        "extension code 4": (b"\x80\x02\x84\x01\x00\x00\x00.", "extension code"),
        "persistent id": (b"\x80\x02X\x01\x00\x00\x00aQ.", "persistent id"),
        "persistent id as text": (b"(Pabc\n.", "persistent id"),
        "buffer outside": (b"\x80\x05\x97.", "outside of the pickle"),
        "read-only buffer outside": (b"\x80\x05N\x98.", "outside of the pickle"),
        "state of a name": (b"\x80\x02cos\nsystem\n}b.", "state is given to"),
        "state twice": (b"\x80\x02ca\nB\n)\x81}b}b.", "given its state twice"),
        "items appended to a number": (b"\x80\x02K\x01Na.", "items are appended to 1"),
        "keys set in a list": (b"\x80\x02]NNs.", "keys are set in a list"),
        "items added to a list": (b"\x80\x04](N\x90.", "added to a list"),
        "arguments that are no tuple": (b"\x80\x02cos\nsystem\nNR.", "arguments are None"),
        "name of numbers": (b"\x80\x04K\x01K\x02\x93.", "a name is 1 and 2"),
        "name of a megabyte": (b"\x80\x04X\x00\x00\x10\x00" + b"a" * 2**20 + b"\x8c\x01b\x93.", "a name is"),
    }  # fmt: skip


def colliding() -> bytes:
    step = 2**61 - 1  # Python's hash of k (2^61 - 1) is 0
    return b"\x80\x02}(" + b"".join(pickle.dumps((i + 9) * step, 2)[2:-1] + b"N" for i in range(2000)) + b"u."


def copies() -> bytes:
    """A list of a thousand is copied again and again."""
    return b"\x80\x04](" + b"N" * 1000 + b"e\x94(" + b"cbuiltins\nlist\nh\x00\x85R" * 40_000 + b"l."


def _contents() -> dict[str, tuple[bytes, str]]:
    """Files that are sound but hold something else."""
    network = Call(Network, {"version": 4})
    loop = Holder({"_parameters": {}, "_buffers": {}, "layer_names": ["L0_36_24"], "z_dim": 1})
    loop._modules = {"mapping": loop, "synthesis": loop, "input": loop, "L0_36_24": loop}
    circle: dict[str, Any] = {"_parameters": {}, "_buffers": {}}
    circle["_modules"] = circle
    regression = LinearRegression().fit(np.eye(3), np.arange(3))
    Network.__module__ = "dnnlib.tflib.network"
    with authors_packages():
        sys.modules["dnnlib.tflib"] = types.ModuleType("dnnlib.tflib")
        sys.modules["dnnlib.tflib.network"] = types.ModuleType("dnnlib.tflib.network")
        sys.modules["dnnlib.tflib.network"].Network = Network  # type: ignore[attr-defined]
        era = pickle.dumps((network, network, network), 3)
    return {
        "a list": (pickle.dumps([1, 2, 3]), "a list of 3, expected a dictionary"),
        "a number": (pickle.dumps(3), "holds 3, expected a dictionary"),
        "an empty dictionary": (pickle.dumps({}), "no 'G_ema' but nothing at all"),
        "only a discriminator": (pickle.dumps({"D": 1, "cfg": 2}), "no 'G_ema' but 'D', 'cfg'"),
        "G_ema is a number": (pickle.dumps({"G_ema": 3}), "G_ema is 3"),
        "G_ema is a dictionary": (pickle.dumps({"G_ema": {"a": 1}}), "G_ema is a dict"),
        "a fitted estimator": (pickle.dumps(regression), "LinearRegression>, expected a dictionary"),
        "an estimator as G_ema": (pickle.dumps({"G_ema": regression}), "as _parameters, expected a dictionary"),
        "TensorFlow era": (era, "TensorFlow-era"),
        "a web page": (b"<!doctype html><html><title>Not found</title></html>", "web page"),
        "nothing": (b"", "empty"),
        "a generator in itself": (pickle.dumps({"G_ema": loop}), "no attribute c_dim"),
        "modules in a circle": (child("synthesis", "more", Holder(circle)), "also holds more"),
        "modules are a list": (attribute("mapping", "_modules", []), "a list of 0 as _modules"),
        "parameters are text": (attribute("mapping", "_parameters", "w"), "'w' as _parameters"),
        "layer names are a number": (attribute("synthesis", "layer_names", 3), "layer_names is 3"),
        "a million layer names": (attribute("synthesis", "layer_names", ["L0_36_24"] * 10**6), "list of 1000000"),
        "the same layer name twice": (attribute("synthesis", "layer_names", ["L0_36_24"] * 9), "L0_36_24"),
        "input as a layer": (attribute("synthesis", "layer_names", ["input"]), "layer_names"),
        "size as text": (attribute("synthesis.L3_52_24", "in_size", "36"), "in_size is '36'"),
        "half a size": (attribute("synthesis.L3_52_24", "in_size", [36.5, 36.5]), "in_size"),
        "size as truth value": (attribute("synthesis.L3_52_24", "in_channels", True), "in_channels is True"),
        "size of 10^12": (attribute("synthesis.L3_52_24", "out_size", 10**12), "out_size is 1000000000000"),
        "size of 10^400": (attribute("synthesis.L3_52_24", "out_size", 10**400), "out_size"),
        "array of objects as size": (
            attribute("synthesis.L3_52_24", "out_size", np.array([1, "a"], dtype=object)), "out_size"
        ),
        "huge array as size": (attribute("synthesis.L3_52_24", "out_size", np.zeros(10**6)), "out_size"),
        "classes of 10^12": (attribute("mapping", "c_dim", 10**12), "c_dim is 1000000000000"),
        "widths of 60,000": (wide(), "expected .* at most|w_dim|gives"),
        "cutoff not a number": (attribute("synthesis.L3_52_24", "in_cutoff", float("nan")), "in_cutoff is nan"),
        "another network's class": (generator_with(lambda g: g._modules.clear()), "no module 'mapping'"),
    }  # fmt: skip


class Network:
    """Stands for the network class of TensorFlow-era files."""

    def __init__(self, state: Any) -> None:
        self.state = state


class Holder:
    """A module with this state."""

    def __init__(self, state: Any):
        self.__dict__ = state


def wide() -> bytes:
    def change(generator: Persistent) -> None:
        for name in generator.synthesis.layer_names:
            layer = generator.synthesis.get_submodule(name)
            layer.in_channels = layer.out_channels = 60_000
        generator.synthesis.input.channels = 60_000
        layer.out_channels = 3

    return generator_with(change)


def corpus(mark: pathlib.Path) -> dict[str, tuple[bytes, str]]:
    """All files: {name: (content, a regular expression that the reason matches)}."""
    return calls(str(mark)) | _storages(str(mark)) | _machines() | _contents()
