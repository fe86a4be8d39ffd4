"""Hostile files: each is refused with its reason, in bounded memory and time, and nothing in it runs."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import ACTING, calls, corpus
from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan import Generator, load_generator
from official import MARK, dumps, official_generator

TESTS = Path(__file__).parent
MOST_MEMORY = 2**26  # bytes beyond the file, at the peak
MOST_SECONDS = 60  # a single file, on a busy machine


def run(program: list[str], mark: Path) -> str:
    paths = os.pathsep.join([str(TESTS), *sys.path])
    environment = {**os.environ, MARK: str(mark), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_each_is_refused_with_its_reason_in_bounded_memory_and_nothing_runs(tmp_path: Path) -> None:
    mark, files = tmp_path / "mark", corpus(tmp_path / "mark")
    assert len(files) >= 40
    names = {f"{i:03d}": name for i, name in enumerate(files)}
    for number, name in names.items():
        (tmp_path / f"{number}.pkl").write_bytes(files[name][0])
    (tmp_path / "sound.pkl").write_bytes(dumps({"G_ema": official_generator()}))
    said = run([str(TESTS / "hostile_child.py"), str(tmp_path)], mark)
    assert not mark.exists()
    results = {entry["file"]: entry for entry in map(json.loads, said.splitlines())}
    assert results.pop("sound")["kind"] == "loaded"
    assert results.keys() == names.keys()
    wrong = {}
    for number, result in results.items():
        content, reason = files[names[number]]
        if not (
            result["kind"] == "CheckpointError"
            and re.search(reason, result["said"])
            and f"{number}.pkl" in result["said"]
            and len(result["said"]) < 1000
            and result["peak"] < MOST_MEMORY + len(content)
            and result["seconds"] < MOST_SECONDS
        ):
            wrong[names[number]] = result
    assert not wrong


def test_opened_the_usual_way_they_would_have_run(tmp_path: Path) -> None:
    """The same bytes leave their marks under the real pickle: the corpus is not toothless."""
    for i, name in enumerate(ACTING):
        (tmp_path / f"{i}.pkl").write_bytes(calls(str(tmp_path / f"{i}.mark"))[name][0])
    usual = (
        "import official, pickle, sys, contextlib\n"
        "official._reconstruct_persistent_obj.__code__ = (lambda meta: meta).__code__\n"
        f"for i in range({len(ACTING)}):\n"
        "    with official.authors_packages(), contextlib.suppress(Exception):\n"
        f"        pickle.load(open({str(tmp_path)!r} + f'/{{i}}.pkl', 'rb'))\n"
    )
    run(["-c", usual], tmp_path / "mark")
    assert [name for i, name in enumerate(ACTING) if not (tmp_path / f"{i}.mark").exists()] == []


@functools.cache
def sound() -> bytes:
    return dumps({"G_ema": official_generator()})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_altered_and_truncated_files_load_or_are_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(sound())
    # Most changes go to the beginning, where the structure is denser than the numbers.
    anywhere = st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, 40_000), st.integers(0, 4000), anywhere))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(anywhere) :]
    path = tmp_path_factory.getbasetemp() / "altered.pkl"
    os.environ[MARK] = str(path.with_name("altered-mark"))
    path.write_bytes(content)
    try:
        generator: Any = load_generator(path)
    except CheckpointError as error:
        assert "altered.pkl" in str(error) and len(str(error)) < 1000
    else:
        assert isinstance(generator, Generator)
    assert not path.with_name("altered-mark").exists()
