"""Rows of a sweep a second, against the paper's procedure written plainly, in the same run; the numbers compared.

    python tests/benchmarks/bench_sweep.py --out tests/benchmarks/results/bench_sweep.json

The reference is `plain_sweep.py`: one unit and one sample at a time, three steps rendered in float32, segmented,
measured region by region with scikit-image. It is timed in three ways: "plain" calls our own generator and segmenter;
"plain_literal_generator" renders by the formulas of `tests/literal.py` (zeros inserted and filtered, a weight for every
sample); "plain_papers_segmenter" does that and runs the segmentation network at the paper's size, too (maps of
every second layer brought to 128 px, 128-64-64-32 channels; untrained, so its answer is not used). Contestants take
turns; rates are medians over rounds, after one to warm up. "sweep_bfloat16_two_workers" runs on two Dask processes of
one thread each, which are started beforehand. Peak memory is that of a process of its own, for two lengths.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import distributed
import machine
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from plain_sweep import PapersSegmenter, plain_sweep

import lis_toolkit as lis
from literal import literal_features

STEPS = 3
MEMORY = """
import sys
sys.path[:0] = {path!r}
from bench_sweep import models
import lis_toolkit as lis
import torch
torch.set_num_threads({threads})
generator, classifier, link, segmenter = models()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins again

def peak():
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
sweep = lis.sweep_units(generator, classifier, link, segmenter, out={out!r}, units=range({units}), samples=10, steps=3,
                        progress=False)
print(before, peak(), len(sweep))
"""


def models():
    generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
    link = lis.fit_link(lis.collect_pairs(generator, classifier, per_class=50, seed=0), method="ridge")
    return generator, classifier, link, lis.load_segmenter("fashion")


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def memory(units: int, folder: Path) -> dict[str, float]:
    code = MEMORY.format(
        path=[str(Path(__file__).parent)],
        out=str(folder / f"memory{units}"),
        units=units,
        threads=torch.get_num_threads(),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, peak, rows = map(int, done.stdout.split()[-3:])
    return {"rows": rows, "before_MiB": before / 1024, "peak_MiB": peak / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--units", type=int, default=64, help="of our sweep; the reference takes two")
    parser.add_argument("--samples", type=int, default=20, help="of each class")
    options = parser.parse_args()
    generator, classifier, link, segmenter = models()
    pairs = lis.collect_pairs(generator, classifier, per_class=1, seed=9)
    few, units = pairs.r, [17, 200]
    plain_rows = len(units) * len(few) * STEPS
    rows = options.units * options.samples * 10 * STEPS

    def literal(w: torch.Tensor):
        return literal_features(generator, w, segmenter.layers)

    papers = PapersSegmenter(generator, len(segmenter.legend.names))

    def with_papers_segmenter(w: torch.Tensor):
        x, maps = literal_features(generator, w, [*papers.layers, *segmenter.layers])
        papers(maps[: len(papers.layers)])
        return x, maps[len(papers.layers) :]

    def plain(render=None) -> list[dict[str, float]]:
        return list(plain_sweep(generator, classifier, link, segmenter, few, units, STEPS, render))

    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers; this process has its threads already
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with tempfile.TemporaryDirectory() as name, cluster, distributed.Client(cluster) as client:
        folder = Path(name)

        def ours(precision: str, **settings) -> lis.Sweep:
            shutil.rmtree(folder / "sweep", ignore_errors=True)
            given = {"units": range(options.units), "samples": options.samples, "steps": STEPS, **settings}
            return lis.sweep_units(
                generator,
                classifier,
                link,
                segmenter,
                out=folder / "sweep",
                precision=precision,
                progress=False,
                **given,
            )

        contestants: dict[str, tuple[int, Callable[[], object]]] = {
            "plain": (plain_rows, plain),
            "plain_literal_generator": (plain_rows, lambda: plain(literal)),
            "plain_papers_segmenter": (plain_rows, lambda: plain(with_papers_segmenter)),
            "sweep_float32": (rows, lambda: ours("float32")),
            "sweep_bfloat16": (rows, lambda: ours("bfloat16")),
            "sweep_bfloat16_two_workers": (rows, lambda: ours("bfloat16", executor=client)),
        }
        ours_names = [key for key in contestants if key.startswith("sweep")]
        times: dict[str, list[float]] = {key: [] for key in contestants}
        for _, call in contestants.values():
            call()
        for _ in range(options.rounds):
            for key, (_, call) in contestants.items():
                times[key].append(seconds(call))
        rate = {key: contestants[key][0] / statistics.median(value) for key, value in times.items()}

        table = ours("float32", units=units, r=few, samples=1, classes=None).table()
        agreement = compare(plain(), table)
        peaks = [memory(n, folder) for n in (4, 32)]

    full = 256 * 50 * 10 * STEPS
    machine.report(
        {
            "command": machine.command(),
            "hardware": machine.hardware(),
            "versions": {"torch": torch.__version__, "lis_toolkit": lis.__version__},
            "threads": torch.get_num_threads(),
            "rows_in_a_sweep": rows,
            "rows_a_second": rate,
            "times_faster": {
                f"{key} / {reference}": rate[key] / rate[reference]
                for key in ours_names
                for reference in ("plain", "plain_literal_generator", "plain_papers_segmenter")
            },
            "seconds_of_all_rounds": times,
            "largest_difference_from_plain": agreement,
            "memory": peaks,
            "256_units_50_samples_10_classes_3_steps": {
                "rows": full,
                "minutes_float32": full / rate["sweep_float32"] / 60,
                "minutes_bfloat16": full / rate["sweep_bfloat16"] / 60,
            },
        },
        options.out,
    )


def compare(plain: list[dict[str, float]], table) -> dict[str, float]:
    """Largest difference of every measure between the plain rows and the sweep's, over all parts.

    Of the units that moved most, the share of rows whose first one is another.
    """
    worst: dict[str, float] = {"other_first_moved_unit": 0.0}
    assert len(plain) == len(table)
    for row, ours in zip(plain, table.to_dict("records"), strict=True):
        assert (row["unit"], row["sample"], row["step"]) == (ours["unit"], ours["sample"], ours["step"])
        for name, value in row.items():
            if name == "moved_units":
                worst["other_first_moved_unit"] += float(value[0] != ours[name][0]) / len(plain)
            elif name != "moved_changes":
                kind = "logit" if name.startswith("logit") else name.split(".")[-1]
                off = float(abs(value - ours[name]))
                off = min(off, math.pi - off) if kind == "angle" else off
                worst[kind] = max(worst.get(kind, 0.0), off)
    return worst


if __name__ == "__main__":
    main()
