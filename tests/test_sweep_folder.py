"""The folder of a sweep: refused, damaged, locked, read-only, full; what is finished is not computed again."""

import copy
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from lis_toolkit.errors import CheckpointError, LisError
from lis_toolkit.sweep import Sweep, filling, sweep_units
from lis_toolkit.sweep import plan as sweep_plan
from lis_toolkit.sweep.folder import SweepFolder
from lis_toolkit.sweep.manifest import FORMAT
from lis_toolkit.sweep.samples import Samples
from lis_toolkit.sweep.settings import settings_key
from tiny import CLASSES
from tiny_sweep import content, tiny_models

OPTIONS = {"units": [1, 4], "samples": 2, "psi": 0.9, "progress": False}
NAMES = ["manifest.json", "rows", "samples.safetensors", "start.parquet", "start_pictures.npy", "start_r.npy"]
FILES = 3  # of 12 pairs, 5 a file


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(sweep_plan, "ROWS_PER_FILE", 15)


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_plan, "ROWS_PER_FILE", 15)
        sweep_units(*models, out=folder, **OPTIONS)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "a")
    return tmp_path / "a"


def row_files(folder):
    return sorted(path.name for path in (folder / "rows").iterdir())


def counted(monkeypatch, stop_at=None, error=KeyboardInterrupt):
    """Count the files of rows that are computed, and stop in the middle of one."""
    compute, calls = filling.compute_piece, []

    def count(recipe, piece, progress=lambda rows: None):
        calls.append(piece.start)
        if stop_at is not None and len(calls) > stop_at:
            raise error("stop")
        return compute(recipe, piece, progress)

    monkeypatch.setattr(filling, "compute_piece", count)
    return calls


def test_a_finished_folder_returns_at_once(models, folder, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    calls = counted(monkeypatch)
    monkeypatch.setattr(filling, "fill", lambda *_: pytest.fail("opened for writing"))
    sweep = sweep_units(*models, out=str(folder), batch_size=3, executor="not even looked at", **OPTIONS)
    assert sweep.complete and calls == [] and {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert sorted(os.listdir(folder)) == NAMES and row_files(folder) == [
        f"0000{i}.parquet" for i in range(FILES)
    ]


def test_what_differs_is_named_with_both_values(models, folder):
    generator, classifier, link, segmenter = models
    before = content(folder)
    other = copy.deepcopy(classifier)
    other.network.head.bias[0] += 1
    loose = copy.deepcopy(link)
    loose.classifier_hash = None
    bent = copy.deepcopy(segmenter)
    bent.convolutions[0].bias[0] += 1
    renamed = copy.deepcopy(segmenter)
    renamed.legend = type(segmenter.legend)(("background", "rim", "hub", "nave"))
    digest = r"[0-9a-f]{12}\.\.\."
    changes = [
        (
            (generator, other, loose, segmenter),
            {},
            f"classifier: the folder has {digest}, you gave {digest}\\. Give",
        ),
        (
            (generator, classifier, link, bent),
            {},
            f"segmenter: the folder has {digest}, you gave {digest}\\. Give",
        ),
        ((generator, classifier, link, renamed), {}, "segmenter: the folder has"),
        ((generator, classifier, link, None), {}, "segmenter: the folder has .*, you gave None"),
        (models, {"units": [1, 4, 5, 6]}, "units: the folder has 1, 4, you gave 1, 4 to 6"),
        (models, {"samples": 3}, "samples: the folder has 2, you gave 3"),
        (models, {"classes": ["disc"]}, "classes: the folder has disc, ring, cross, you gave disc"),
        (
            models,
            {"psi": 0.8, "seed": 4},
            "psi: the folder has 0.9, you gave 0.8; seed: the folder has 0, you gave 4",
        ),
        (models, {"steps": 2}, "steps: the folder has 3, you gave 2"),
        (models, {"moved": 3}, "moved: the folder has 8, you gave 3"),
        (models, {"directions": torch.eye(10)}, f"directions: the folder has None, you gave {digest}"),
        (models, {"thumbnails": True}, "thumbnails: the folder has False, you gave True"),
        (models, {"precision": "bfloat16"}, "precision: the folder has float32, you gave bfloat16"),
        (models, {"r": torch.zeros(6, 10)}, f"r: the folder has None, you gave {digest}"),
    ]
    for given, options, message in changes:
        with pytest.raises(LisError, match=f"holds another sweep.*{message}.*another folder"):
            sweep_units(*given, out=folder, **{**OPTIONS, **options})
    assert content(folder) == before


def test_an_interrupted_sweep_goes_on(models, whole, tmp_path, monkeypatch):
    calls = counted(monkeypatch, stop_at=2)
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped after 30 of 36 rows, which are kept; the same call goes on"
    ):
        sweep_units(*models, out=tmp_path / "a", **OPTIONS)
    part = Sweep.open(tmp_path / "a")
    assert not part.complete and len(part) == 30 == len(part.table()) and part.finished_units == (1,)
    assert part.start.shape[0] == 6 and "30 rows are there" in repr(part)
    with pytest.raises(LisError, match="not all rows of unit 4|kept no pictures"):
        part.pictures(4)
    monkeypatch.undo()
    monkeypatch.setattr(
        sweep_plan, "ROWS_PER_FILE", 18
    )  # of another version; the folder goes on with its own
    with pytest.raises(RuntimeError, match="stop"):  # any other error keeps what was done, too
        counted(monkeypatch, stop_at=0, error=RuntimeError)
        sweep_units(*models, out=tmp_path / "a", **OPTIONS)
    monkeypatch.undo()
    calls = counted(monkeypatch)
    sweep = sweep_units(*models, out=tmp_path / "a", **OPTIONS)
    assert calls == [10] and sweep.complete and content(tmp_path / "a") == content(whole)


def test_an_interrupt_before_the_first_row(models, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lis_toolkit.sweep.beginning.collect_samples", stop)
    with pytest.raises(KeyboardInterrupt, match="stopped before the first row; the same call begins again"):
        sweep_units(*models, out=tmp_path / "a" / "b", **OPTIONS)
    assert not (tmp_path / "a" / "b").exists()


def damage(path, how):
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other":
        path.write_bytes(b"not what it says")


@pytest.mark.parametrize("how", ["gone", "cut", "empty", "other"])
def test_damaged_files_are_made_again(models, whole, folder, how):
    for name in (
        "rows/00001.parquet",
        "start.parquet",
        "start_r.npy",
        "start_pictures.npy",
        "samples.safetensors",
    ):
        damage(folder / name, how)
        if how in ("cut", "other", "gone") or name.endswith("parquet"):
            sweep_units(*models, out=folder, **OPTIONS)
            if "rows" in name or "start" in name:
                assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("rows/00000.parquet", "samples.safetensors"):
        damage(folder / name, how)
    sweep = sweep_units(*models, out=folder, **OPTIONS)
    assert sweep.complete and content(folder) == content(whole)


def test_rows_of_another_sweep_are_not_taken_for_ones_own(models, whole, folder, tmp_path):
    other = sweep_units(*models, out=tmp_path / "b", **{**OPTIONS, "seed": 3})
    shutil.copy(other.folder / "rows" / "00001.parquet", folder / "rows" / "00001.parquet")
    shutil.copy(folder / "rows" / "00000.parquet", folder / "rows" / "00002.parquet")
    assert Sweep.open(folder).finished == (0,)
    sweep_units(*models, out=folder, **OPTIONS)
    assert content(folder) == content(whole)


def test_a_flipped_bit_is_noticed_when_it_is_read(folder):
    path = folder / "rows" / "00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 8] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(
        CheckpointError, match=r"00000.parquet is missing or damaged.*sweep_units.*makes it again"
    ):
        Sweep.open(folder).table()


def test_manifests_that_are_damaged_or_of_something_else(models, folder, tmp_path):
    for path, message in ((tmp_path / "none", "has no manifest"), (tmp_path, "is a folder without manifest")):
        with pytest.raises(CheckpointError, match=message):
            Sweep.open(path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for text, message in (
        ("{", "can't read"),
        ("[]", "is not of a sweep"),
        (json.dumps(manifest | {"format": "theirs"}), "format 'theirs'"),
        (json.dumps(manifest | {"units": 3}), "has 3 for 'units': it is damaged"),
    ):
        (folder / "manifest.json").write_text(text)
        for call in (Sweep.open, lambda f: sweep_units(*models, out=f, **OPTIONS)):
            with pytest.raises(CheckpointError, match=message):
                call(folder)
    columns = {"unit": "int32"}
    key = settings_key(
        FORMAT, manifest["settings"], manifest["samples"]["sha256"], columns, manifest["pairs_per_file"]
    )
    other = manifest | {"columns": columns, "start_columns": {}, "key": key}
    (folder / "manifest.json").write_text(json.dumps(other))
    (folder / "rows" / "00000.parquet").unlink()
    with pytest.raises(
        LisError, match=r"begun by a version of lis_toolkit whose tables have other columns \(class"
    ):
        sweep_units(*models, out=folder, **OPTIONS)


def test_a_version_that_measures_otherwise_does_not_go_on(models, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["measures"] == {"entropy_radius": 2, "entropy_levels": 32}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"measures": {"entropy_radius": 3}}))
    assert sweep_units(*models, out=folder, **OPTIONS).complete  # nothing is added to it
    (folder / "rows" / "00000.parquet").unlink()
    with pytest.raises(LisError, match=r"whose measures are others \({'entropy_radius': 3}, here .*: 2, "):
        sweep_units(*models, out=folder, **OPTIONS)


def test_what_a_manifest_says_holds_together(models, folder):
    text = (folder / "manifest.json").read_text()
    manifest, before = json.loads(text), content(folder)
    changes = [
        ({"files": 10**12}, "it tells of 1000000000000 files, and its rows make 3"),
        ({"files": -1}, "files"),
        ({"pairs_per_file": 0}, "not numbers of things"),
        ({"pairs_per_file": 10**400}, "files"),
        ({"pairs_per_file": 4}, "its key"),
        ({"steps": True}, "numbers of things"),
        ({"steps": 4}, "its steps"),
        ({"rows": 37}, "37 rows, and 2 units, 6 samples and 3 steps"),
        ({"units": [4, 1]}, "its units"),
        ({"units": [1, 5]}, "its units"),
        ({"units": [[], {}]}, "its units"),
        ({"skipped_units": ["../../etc"]}, "numbers of things"),
        ({"values": [[1, 2, 3]]}, "its values"),
        ({"values": [[1, 2, 10**400]] * 2}, "its values"),
        ({"values": [[1, 2, math.nan]] * 2}, "its values"),
        ({"values": [1, 2]}, "its values"),
        ({"image": [1, "16", 16]}, "its image"),
        ({"image": []}, "its image"),
        ({"pictures": "gif"}, "its pictures are 'gif'"),
        ({"key": "0" * 64}, "its key"),
        ({"settings": manifest["settings"] | {"psi": 0.8}}, "its key"),
        ({"columns": manifest["columns"] | {"rim.area": "string"}}, "its key"),
        ({"start_columns": {"rim.aera": "float"}}, "its start"),
        ({"samples": manifest["samples"] | {"count": 10**30}}, "rows"),
        ({"samples": manifest["samples"] | {"count": None}}, "numbers of things"),
        ({"samples": manifest["samples"] | {"classes": [1, 2, 3]}}, "the classes"),
        ({"samples": manifest["samples"] | {"counts": {"disc": [2]}}}, "the counts"),
        ({"samples": {}}, "numbers of things"),
    ]
    for change, message in changes:
        (folder / "manifest.json").write_text(json.dumps(manifest | change))
        for call in (Sweep.open, lambda f: sweep_units(*models, out=f, **OPTIONS)):
            with pytest.raises(
                CheckpointError, match=f"manifest.json is damaged or was altered: .*{message}"
            ):
                call(folder)
    lacking = {name: value for name, value in manifest.items() if name != "pictures"}
    (folder / "manifest.json").write_text(json.dumps(lacking))
    with pytest.raises(CheckpointError, match="its pictures"):
        Sweep.open(folder)
    (folder / "manifest.json").write_text(text)
    assert content(folder) == before and Sweep.open(folder).complete


def rewrite(path, change):
    """Write a table of the folder anew with other columns, but its own note."""
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def test_columns_of_another_kind_are_noticed(folder):
    def renamed(table):
        return table.rename_columns(["rim.aera" if c == "rim.area" else c for c in table.column_names])

    def retyped(table):
        place = table.column_names.index("rim.area")
        return table.set_column(place, "rim.area", table["rim.area"].cast("float64"))

    for name, read in (("start.parquet", lambda s: s.start), ("rows/00001.parquet", lambda s: s.table())):
        kept = (folder / name).read_bytes()
        for change, message in (
            (renamed, "rim.area"),
            (retyped, "'rim.area' is double, the manifest says float"),
        ):
            rewrite(folder / name, change)
            with pytest.raises(CheckpointError, match=f"{name} is missing or damaged: .*{message}"):
                read(Sweep.open(folder))
            (folder / name).write_bytes(kept)
    assert len(Sweep.open(folder).table()) == 36


@pytest.mark.parametrize("name", ["start_pictures.npy", "start_r.npy"])
def test_rows_are_not_compared_with_a_start_that_changed(models, whole, folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 64
    (folder / name).write_bytes(bytes(data))
    (folder / "rows" / "00002.parquet").unlink()
    sweep_units(*models, out=folder, **OPTIONS)
    assert content(folder) == content(whole)


def test_what_was_computed_again_may_differ_by_rounding(models, whole, tmp_path):
    r = Sweep.open(whole).samples.r
    directions = torch.eye(10) + 0.1 * torch.rand(10, 10, generator=torch.Generator().manual_seed(0)).triu(1)
    options = {"out": tmp_path / "a", "units": [1, 4], "progress": False}
    sweep_units(*models, r=r, directions=directions, **options)
    before = content(tmp_path / "a")
    rounding = 1 + 2e-7 * torch.randn(10, 10, generator=torch.Generator().manual_seed(1)).triu(1)
    near = r * (1 + 2e-7), directions * rounding
    assert not torch.equal(near[0], r) and not torch.equal(near[1], directions)
    (tmp_path / "a" / "rows" / "00001.parquet").unlink()
    sweep_units(*models, r=near[0], directions=near[1], **options)
    assert content(tmp_path / "a") == before
    far_r, far_directions = r.clone(), directions.clone()
    far_r[0, 0] += 0.01 * float(r.abs().max())
    far_directions[0, 1] += 0.001
    for given in ((far_r, directions), (r, far_directions), (near[0], None), (r[:, :].flip(0), near[1])):
        with pytest.raises(LisError, match="(r|directions): the folder has .*, you gave"):
            sweep_units(*models, r=given[0], directions=given[1], **options)


def test_directions_are_of_the_sweep(models, folder, tmp_path):
    assert Sweep.open(folder).directions is None
    directions = torch.eye(10) + 0.1 * torch.rand(10, 10, generator=torch.Generator().manual_seed(0)).triu(1)
    sweep = sweep_units(*models, out=tmp_path / "b", directions=directions, **OPTIONS)
    assert torch.equal(sweep.directions, directions) and torch.equal(
        Sweep.open(tmp_path / "b").directions, directions
    )
    before = content(tmp_path / "b")
    for other in (directions * 1.01, None):
        samples, settings, _ = Samples.load(tmp_path / "b" / "samples.safetensors")
        samples.save(tmp_path / "b" / "samples.safetensors", settings, other)
        with pytest.raises(CheckpointError, match="is not that of this sweep"):
            _ = Sweep.open(tmp_path / "b").directions
        sweep_units(*models, out=tmp_path / "b", directions=directions, **OPTIONS)
        assert content(tmp_path / "b") == before


@pytest.mark.parametrize("name", ["start.parquet", "rows", "samples.safetensors", "start_r.npy"])
def test_files_of_other_origin_are_left_alone(models, tmp_path, name):
    (tmp_path / name).mkdir() if name == "rows" else (tmp_path / name).write_text("mine")
    if name == "rows":
        (tmp_path / "rows" / "mine.txt").write_text("mine")
    with pytest.raises(LisError, match=name):
        sweep_units(*models, out=tmp_path, **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    mine = tmp_path / "rows" / "mine.txt" if name == "rows" else tmp_path / name
    assert mine.read_text() == "mine"


def test_a_file_in_place_of_the_folder(models, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(LisError, match="can't write"):
            sweep_units(*models, out=place, **OPTIONS)
    assert (tmp_path / "file").read_text() == "mine"


def test_unrelated_files_stay_and_left_over_ones_go(models, folder, whole):
    (folder / "thesis.txt").write_text("mine")
    (folder / "rows" / ".hidden").write_text("mine")
    left = [".manifest.0123abcd.json", "..samples.0123abcd.89abcdef.safetensors", ".start_r.0123abcd.npy"]
    for name in [*left, "rows/.00001.0123abcd.parquet"]:
        (folder / name).write_text("half")
    (folder / "rows" / "00002.parquet").unlink()
    sweep_units(*models, out=folder, **OPTIONS)
    assert sorted(os.listdir(folder)) == sorted([*NAMES, "thesis.txt"])
    assert (
        sorted(os.listdir(folder / "rows"))[0] == ".hidden" and len(os.listdir(folder / "rows")) == FILES + 1
    )
    pd.testing.assert_frame_equal(Sweep.open(folder).table(), Sweep.open(whole).table())


def test_two_processes_at_one_folder(models, folder, whole):
    (folder / "rows" / "00002.parquet").unlink()
    code = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(1, flush=True); input()"
    arguments = [sys.executable, "-c", code, str(folder / ".sweep.lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(LisError, match="being filled by another process"):
            sweep_units(*models, out=folder, **OPTIONS)
        assert len(Sweep.open(folder)) == 30  # reading is not in the way
        for path in (folder / "rows").iterdir():
            path.unlink()
        with pytest.raises(LisError, match="being filled by another process"):
            sweep_units(*models, out=folder, **OPTIONS)
        assert (folder / "rows").is_dir()  # which the other one is about to write to
        other.communicate(b"\n")
    sweep_units(*models, out=folder, **OPTIONS)
    assert content(folder) == content(whole)  # and no lock is left


def test_two_of_us_keep_each_other_out(folder):
    with SweepFolder(folder).locked():
        with pytest.raises(LisError, match="being filled by another process"), SweepFolder(folder).locked():
            pytest.fail("both are in")
        assert (folder / ".sweep.lock").exists()
    with SweepFolder(folder).locked():
        pass
    assert not (folder / ".sweep.lock").exists()


@pytest.mark.parametrize("seed", [0, 3])
def test_a_sweep_that_another_process_begins_at_the_same_moment(models, folder, whole, monkeypatch, seed):
    (folder / "rows" / "00002.parquet").unlink()
    read, calls = SweepFolder.read_manifest, []

    def late(self):
        calls.append(self)
        return None if len(calls) == 1 else read(self)  # it is there when this process has looked for it

    monkeypatch.setattr(SweepFolder, "read_manifest", late)
    if seed:
        with pytest.raises(LisError, match="holds another sweep. seed: the folder has 0, you gave 3"):
            sweep_units(*models, out=folder, **OPTIONS, seed=seed)
    else:
        sweep_units(*models, out=folder, **OPTIONS)
        assert content(folder) == content(whole)


# --------------------------------------------------------------------------------------------------- full and read-only


def full(monkeypatch, at, name="replace", number=28):
    """Let the n-th call of a function of os fail as on a full disk, or a read-only one."""
    function, calls = getattr(os, name), []

    def fail(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == at:
            raise OSError(number, os.strerror(number))
        return function(*arguments, **keywords)

    monkeypatch.setattr(os, name, fail)
    return calls


@pytest.mark.parametrize("name", ["replace", "fsync"])
@pytest.mark.parametrize("file", range(8))  # samples, manifest, the start's three, three of rows
def test_a_disk_that_fills_up(models, tmp_path, whole, monkeypatch, file, name):
    # Samples are moved twice; every other fsync is that of a folder, which is not asked to succeed.
    at = file + 2 if name == "replace" else 2 * file + 1
    calls = full(monkeypatch, at, name)
    with pytest.raises(LisError, match="can't write.*No space left on device.*what was written stays"):
        sweep_units(*models, out=tmp_path / "a", **OPTIONS)
    assert len(calls) == at
    monkeypatch.undo()
    monkeypatch.setattr(sweep_plan, "ROWS_PER_FILE", 15)
    if (tmp_path / "a" / "manifest.json").exists():
        part = Sweep.open(tmp_path / "a")
        assert len(part) in (0, 15, 30, 36)
        assert not part.finished or len(part.table()) == len(part)
    sweep_units(*models, out=tmp_path / "a", **OPTIONS)
    assert content(tmp_path / "a") == content(whole)


def test_a_quota_of_bytes(whole, tmp_path):
    """A real limit of the system: files of rows are larger than it allows, the files before them are not."""
    sizes = sorted(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    code = (
        "import resource, sys; import test_sweep_folder as t; t.sweep_plan.ROWS_PER_FILE = 15\n"
        "models = t.tiny_models(); size = int(sys.argv[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "try: t.sweep_units(*models, out=sys.argv[1], **t.OPTIONS)\n"
        "except t.LisError as error: print(error)"
    )
    limit = sizes[-1] - 1
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a"), str(limit)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0 and re.search("can't write .*[.]parquet: File too large", done.stdout), done
    assert resource.RLIM_INFINITY == -1 and not list((tmp_path / "a").rglob(".*"))
    assert len(Sweep.open(tmp_path / "a")) < 36 and Sweep.open(tmp_path / "a").manifest["rows"] == 36


@pytest.mark.parametrize("name", ["mkdir", "open"])
def test_a_read_only_folder(models, folder, monkeypatch, name):
    assert sweep_units(*models, out=folder, **OPTIONS).complete
    (folder / "rows" / "00002.parquet").unlink()
    function = getattr(os, name)

    def refuse(path, *arguments, **keywords):
        if str(path).startswith(str(folder)) and (name != "open" or arguments[0] & os.O_CREAT):
            raise OSError(30, "Read-only file system")
        return function(path, *arguments, **keywords)

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(LisError, match="can't write.*Read-only file system"):
        sweep_units(*models, out=folder if name == "open" else folder / "new", **OPTIONS)
    monkeypatch.undo()
    assert len(Sweep.open(folder).table()) == 30


def test_too_small_a_disk_is_told_before_the_work(models, tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 60_000))
    monkeypatch.setattr(
        filling, "estimate", lambda *_: (1000.0, 0.001, 10_000.0)
    )  # 36 rows in 3 files: 66 kB
    with pytest.raises(LisError, match=r"missing rows take about \d+ MB, .* has 0 MB left. Make room"):
        sweep_units(*models, out=tmp_path / "a", **OPTIONS)
    assert calls == [] and len(Sweep.open(tmp_path / "a")) == 0
    with pytest.raises(LisError, match="has no rows yet"):
        Sweep.open(tmp_path / "a").table()


def test_a_disk_that_is_just_large_enough(models, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 70_000))
    monkeypatch.setattr(filling, "estimate", lambda *_: (1000.0, 0.001, 10_000.0))
    assert sweep_units(*models, out=tmp_path / "a", **OPTIONS).complete


def test_samples_are_of_the_sweep(models, folder):
    from lis_toolkit.files import load_tensors, save_tensors

    assert Sweep.open(folder).classes == CLASSES
    tensors, told = load_tensors(folder / "samples.safetensors")
    tensors["r"][0, 0] += 1
    save_tensors(folder / "samples.safetensors", tensors, told)
    with pytest.raises(CheckpointError, match="is not that of this sweep"):
        _ = Sweep.open(folder).samples
