"""A sweep on a cluster: every file of rows is a task of a Dask client, computed by whichever worker is free.

Workers need lis_toolkit and its dependencies, but no common file system: they send back the bytes of each file, and the
calling process writes them, so that a folder is filled by one process as it is without a cluster. Models go to the
workers once, in Dask's own serialisation; what a file's rows start from goes with its task. At most two files for each
thread of the workers are under way, which bounds the memory of client and scheduler. Workers may come and go: Dask
gives a dead worker's files to another one, and `retries` more times after that. Threads of torch: Dask starts workers
with one each; results are the same to the last bit where the machines compute alike.

SLURM, through dask-jobqueue (one job is one worker here; adapt the resources):

    from dask_jobqueue import SLURMCluster
    from distributed import Client

    cluster = SLURMCluster(queue="gpu", cores=1, memory="16GB", walltime="04:00:00",
                           job_extra_directives=["--gres=gpu:1"])
    cluster.adapt(maximum_jobs=20)  # jobs come and go with the work; a job that ends in mid-file is made up for
    sweep_units(generator, classifier, link, segmenter, out="runs/all", executor=Client(cluster))

Run this where the scheduler of the cluster may run for days (a login node's screen, or a small job of its own); killed,
it goes on with what is in the folder. Models compute where they are: for GPUs on the workers, put them on the GPU in
the calling process too, which renders the start pictures.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import LisError
from ..names import whole_number
from .recipe import Recipe
from .rows import Piece, compute_piece, parquet_bytes

__all__ = ["check_client", "packages", "run_on_cluster"]

KEPT = "Files that were finished are kept, and the same call goes on from there."
PER_THREAD = 2  # files under way for each thread of the workers


def compute_file(recipe: Recipe, piece: Piece, note: dict[str, Any]) -> bytes:
    """Return the bytes of one file of rows: what a worker does."""
    return parquet_bytes(compute_piece(recipe, piece), note)


def same(value: Any) -> Any:
    """Return what was given: a task whose result, the models, Dask makes again when its workers die."""
    return value


def run_on_cluster(
    client: Any,
    recipe: Recipe,
    tasks: Iterable[tuple[int, Piece, dict[str, Any]]],
    keep: Callable[[int, bytes], Any],
    called: Callable[[int], str],
    retries: int,
) -> None:
    """Compute files on the workers of a ``distributed.Client`` and hand each to `keep` as it comes.

    Parameters
    ----------
    tasks
        Number, piece and note of each file; taken one by one, as workers become free.
    called
        Name of a file, for errors.

    Raises
    ------
    LisError
        When the package is missing, `client` is not a client, or a file failed for good: which one and why. Files that
        came before are kept.
    """
    distributed, config = packages()
    check_client(client)
    retries = whole_number(retries, "retries", 0)
    run = secrets.token_hex(4)  # two sweeps of one client must not share keys
    waiting = iter(tasks)
    futures: dict[Any, int] = {}
    # Models and pieces are meant to be sent whole: Dask's advice on large graphs does not apply.
    with config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
        shared = client.submit(same, recipe, key=f"lis-sweep-models-{run}")
        finished = distributed.as_completed()
        try:
            while True:
                most = PER_THREAD * max(_threads(client), 1)
                while len(futures) < most and (task := next(waiting, None)) is not None:
                    index, piece, note = task
                    key = f"lis-sweep-rows-{run}-{index}"
                    future = client.submit(compute_file, shared, piece, note, key=key, retries=retries)
                    futures[future] = index
                    finished.add(future)
                if not futures:
                    return
                future = next(finished)
                index = futures[future]
                keep(index, _result(future, called(index)))
                del futures[future]
                future.release()
        finally:
            # With a scheduler or client that is gone there is nothing to cancel; the first error is the one to tell.
            with contextlib.suppress(Exception):
                client.cancel([*futures, shared])


def check_client(client: Any) -> None:
    """Raise a LisError unless this is a client that can be waited for, of a package that is installed."""
    distributed, _ = packages()
    if not isinstance(client, distributed.Client) or client.asynchronous:
        raise LisError(
            f"executor is of type {type(client).__name__}; a synchronous distributed.Client was expected, such as "
            "Client(n_workers=4, threads_per_worker=1)."
        )


def packages() -> tuple[Any, Any]:
    """Return the modules distributed and dask.config, or say how to install them."""
    try:
        return importlib.import_module("distributed"), importlib.import_module("dask.config")
    except ImportError as error:
        raise LisError(
            f'a sweep on a cluster needs the package distributed ({error}): pip install "lis-toolkit[distributed]".'
        ) from error


def _threads(client: Any) -> int:
    """Return how many threads the workers have now, which may be none."""
    try:
        if client.status != "closed":
            return sum(client.nthreads().values())
        reason = "it was closed"
    except OSError as error:
        reason = str(error) or type(error).__name__
    raise LisError(f"the connection to the cluster is gone ({reason}). {KEPT}")


def _result(future: Any, name: str) -> bytes:
    try:
        error = future.exception()
        if error is None:
            content: bytes = future.result()
            return content
    except (asyncio.CancelledError, concurrent.futures.CancelledError) as cancelled:
        reason = str(cancelled).strip().rstrip(".") or "without a reason"
        raise LisError(
            f"{name} was cancelled on the cluster, as by a restart of its scheduler: {reason}. {KEPT}"
        ) from cancelled
    reason = str(error).strip().rstrip(".") or type(error).__name__
    if not isinstance(error, LisError):
        reason = f"{type(error).__name__}: {reason}"
    raise LisError(f"{name} failed on the cluster: {reason}. {KEPT}") from error
