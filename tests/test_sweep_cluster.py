"""Sweeps on a Dask cluster of two processes: the folder of a serial run, though workers die, and errors with names."""

import copy
import importlib
import os
import signal
import sys
import threading
import warnings

import pytest
import torch

from lis_toolkit.errors import LisError
from lis_toolkit.sweep import Sweep, sweep_units
from lis_toolkit.sweep import plan as sweep_plan
from lis_toolkit.sweep.cluster import run_on_cluster
from tiny_sweep import content, tiny_models

distributed = pytest.importorskip("distributed")
OPTIONS = {"units": [0, 1, 4, 6], "samples": 4, "psi": 0.9, "thumbnails": True, "progress": False}
FILES = 12


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(sweep_plan, "ROWS_PER_FILE", 12)


@pytest.fixture(scope="module")
def client():
    """Two worker processes, which find the tests' own modules, too."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("OMP_NUM_THREADS", "1")
        options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
        with (
            distributed.LocalCluster(**options, silence_logs=50) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client


@pytest.fixture(scope="module")
def serial(models, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    folder = tmp_path_factory.mktemp("serial") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_plan, "ROWS_PER_FILE", 12)
        sweep_units(*models, out=folder, **OPTIONS)
    yield folder
    torch.set_num_threads(threads)


def test_the_same_folder_though_a_worker_is_killed(models, client, serial, tmp_path, monkeypatch):
    from lis_toolkit.sweep import folder as folder_module

    before = set(client.scheduler_info()["workers"])
    pids = list(client.run(os.getpid).values())
    write, written, killed = folder_module.SweepFolder.write, [], threading.Event()

    def counted(self, name, data):
        write(self, name, data)
        if name.startswith("rows"):
            written.append(name)
            if len(written) == 3:
                os.kill(pids[0], signal.SIGKILL)
                killed.set()

    monkeypatch.setattr(folder_module.SweepFolder, "write", counted)
    sweep = sweep_units(*models, out=tmp_path / "a", executor=client, **OPTIONS)
    assert killed.is_set() and sweep.complete and len(set(written)) == len(written) == FILES
    assert content(tmp_path / "a") == content(serial)
    client.wait_for_workers(2, timeout=120)
    assert set(client.scheduler_info()["workers"]) != before  # one of them is new


def test_a_sweep_begun_here_goes_on_there_and_the_other_way_round(
    models, client, serial, tmp_path, monkeypatch
):
    folder = tmp_path / "a"
    sweep_units(*models, out=folder, executor=client, **OPTIONS)
    for i in (0, 5, 11):
        (folder / "rows" / f"{i:05d}.parquet").unlink()
    monkeypatch.setattr("lis_toolkit.sweep.filling.compute_piece", lambda *_: pytest.fail("computed here"))
    sweep_units(*models, out=folder, executor=client, **OPTIONS)
    monkeypatch.undo()
    assert content(folder) == content(serial)
    (folder / "rows" / "00003.parquet").unlink()
    sweep_units(*models, out=folder, **OPTIONS)
    assert content(folder) == content(serial)


def test_a_client_that_is_closed_meanwhile(models, client, serial, tmp_path, monkeypatch):
    from lis_toolkit.sweep import filling

    own = distributed.Client(client.scheduler.address)
    parquet = filling.SweepFolder.write

    def closing(self, name, data):
        parquet(self, name, data)
        if name.startswith("rows"):
            own.close()

    monkeypatch.setattr(filling.SweepFolder, "write", closing)
    with pytest.raises(
        LisError, match="connection to the cluster is gone.* Files that were finished are kept"
    ):
        sweep_units(*models, out=tmp_path / "a", executor=own, **OPTIONS)
    monkeypatch.undo()
    assert len(Sweep.open(tmp_path / "a").finished) == 1
    monkeypatch.setattr(sweep_plan, "ROWS_PER_FILE", 12)
    sweep_units(*models, out=tmp_path / "a", executor=client, **OPTIONS)
    assert content(tmp_path / "a") == content(serial)


def test_files_that_someone_cancels(models, client, serial, tmp_path, monkeypatch):
    from lis_toolkit.sweep import filling

    write = filling.SweepFolder.write

    def cancelling(self, name, data):
        write(self, name, data)
        if name.startswith("rows"):
            client.cancel([distributed.Future(key, client) for key in list(client.futures)])

    monkeypatch.setattr(filling.SweepFolder, "write", cancelling)
    with pytest.raises(
        LisError, match=r"rows/000\d\d.parquet .* was cancelled on the cluster.*Files that were"
    ):
        sweep_units(*models, out=tmp_path / "a", executor=client, **OPTIONS)
    monkeypatch.undo()
    assert 1 <= len(Sweep.open(tmp_path / "a").finished) < FILES
    monkeypatch.setattr(sweep_plan, "ROWS_PER_FILE", 12)
    sweep_units(*models, out=tmp_path / "a", executor=client, **OPTIONS)
    assert content(tmp_path / "a") == content(serial)


class Fragile(torch.nn.Module):
    """A network that fails, or ends its process, for pictures that a worker sees first."""

    def __init__(self, network, deadly, parent):
        super().__init__()
        self.network, self.deadly, self.parent = network, deadly, parent

    @property
    def head(self):
        return self.network.head

    def features(self, inputs):
        if os.getpid() != self.parent:
            if self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("no kernel image")
        return self.network.features(inputs)


@pytest.mark.parametrize("deadly", [False, True])
def test_what_fails_for_good_is_named(models, client, tmp_path, deadly):
    generator, classifier, link, segmenter = models
    fragile, free = copy.deepcopy(classifier), copy.deepcopy(link)
    fragile.network, free.classifier_hash = Fragile(fragile.network, deadly, os.getpid()), None
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 1))
    message = "KilledWorker" if deadly else "RuntimeError: no kernel image"
    with pytest.raises(
        LisError, match=rf"rows/0000\d.parquet \(units? .*\) failed on the cluster: {message}"
    ):
        sweep_units(
            generator, fragile, free, segmenter, out=tmp_path / "a", executor=client, retries=1, **OPTIONS
        )
    part = Sweep.open(tmp_path / "a")
    assert len(part) == 0 and not part.complete and len(part.start) == 12
    client.wait_for_workers(2, timeout=120)


def test_no_more_files_are_under_way_than_workers_can_take(models, client, monkeypatch):
    taken, kept = [], []

    def tasks():
        for i in range(20):
            taken.append(i)
            yield i, i, {}

    monkeypatch.setattr("lis_toolkit.sweep.cluster.compute_file", lambda recipe, piece, note: bytes([piece]))
    most = []

    def keep(index, data):
        kept.append((index, data))
        most.append(len(taken) - len(kept))

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is sent is no concern of the user
        run_on_cluster(client, "x" * 20_000_000, tasks(), keep, str, 0)
    assert sorted(kept) == [(i, bytes([i])) for i in range(20)] and max(most) <= 4


def test_nothing_is_left_with_the_scheduler_after_an_error(client, monkeypatch):
    def full(index, data):
        raise LisError("the disk is full")

    monkeypatch.setattr("lis_toolkit.sweep.cluster.compute_file", lambda recipe, piece, note: bytes([piece]))
    with pytest.raises(LisError, match="the disk is full") as held:
        run_on_cluster(client, "x", ((i, i, {}) for i in range(20)), full, str, 0)
    assert held is not None  # and with it what the call referred to
    assert not [key for key in client.futures if str(key).startswith("lis-sweep")]


def test_without_the_package_it_says_what_to_install(models, tmp_path, monkeypatch):
    load = importlib.import_module

    def missing(name, *arguments):
        if name == "distributed":
            raise ImportError("No module named 'distributed'")
        return load(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        LisError, match=r'needs the package distributed.*pip install "lis-toolkit\[distributed\]"'
    ):
        sweep_units(*models, out=tmp_path / "a", executor=object(), **OPTIONS)
