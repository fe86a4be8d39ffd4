"""Time and memory of fit_link against scikit-learn's LinearRegression, as ratios within one run.

    python tests/benchmarks/bench_link.py --repeats 5 --out tests/benchmarks/results/bench_link.json

Every measurement is a fresh process with the data already in memory; memory is the peak resident size above
that, from VmHWM, which is reset just before the fit. Contestants take turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine

CONTESTANTS = ("sklearn", "sklearn64", "ols", "ols64", "ridge1", "ridge20", "ridge1_64", "ridge20_64")


def data(rows: int, units: int, latents: int, dtype: str = "float32"):
    """Well-conditioned rows: independent units, and latents half explained by them."""
    import numpy as np

    rng = np.random.default_rng(0)
    r = rng.standard_normal((rows, units), dtype=np.float32)
    a = rng.standard_normal((units, latents), dtype=np.float32) / units**0.5
    w = rng.standard_normal((rows, latents), dtype=np.float32)
    step = 1024
    for start in range(0, rows, step):
        w[start : start + step] += r[start : start + step] @ a
    return r.astype(dtype, copy=False), w.astype(dtype, copy=False)


def memory(field: str) -> float:
    """Field of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(field)


def measure(contestant: str, rows: int, units: int, latents: int, coefficients: str | None) -> dict:
    """One fit in this process: seconds, extra peak memory in MB."""
    import numpy as np

    r, w = data(rows, units, latents, "float64" if contestant == "sklearn64" else "float32")
    if contestant.startswith("sklearn"):
        from sklearn.linear_model import LinearRegression

        def run(r, w):
            return LinearRegression().fit(r, w).coef_
    else:
        import torch

        from lis_toolkit.link import fit_link

        options = {
            "ols": {"method": "ols"},
            "ridge1": {"method": "ridge", "penalty": 1e-2},
            "ridge20": {"method": "ridge"},
        }[contestant.removesuffix("_64").removesuffix("64")]
        if contestant.endswith("64"):
            options["precision"] = "float64"

        def run(r, w):
            return fit_link((torch.from_numpy(r), torch.from_numpy(w)), **options).A.numpy()

    run(r[:64, :16].copy(), w[:64, :4].copy())  # imports and thread pools
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = memory("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    a = run(r, w)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    extra = memory("VmHWM") - before
    if coefficients:
        np.save(coefficients, a)
    return {"seconds": seconds, "cpu_seconds": cpu, "extra_mb": extra}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--units", type=int, default=2048)
    parser.add_argument("--latents", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--clock",
        choices=("seconds", "cpu_seconds"),
        default="seconds",
        help="cpu_seconds with --threads 1 is the fair clock on a busy machine",
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--coefficients", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.rows, args.units, args.latents, args.coefficients)))
        return

    import tempfile

    import numpy as np
    import scipy
    import sklearn
    import torch

    sizes = ["--rows", str(args.rows), "--units", str(args.units), "--latents", str(args.latents)]
    runs: dict[str, list[dict]] = {name: [] for name in args.contestants}
    load = os.getloadavg()[0]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    environment = {**os.environ, **threads}
    with tempfile.TemporaryDirectory() as folder:
        for done_rounds in range(1, args.repeats + 1):
            for name in args.contestants:
                path = f"{folder}/{name}.npy"
                command = [sys.executable, __file__, "--one", name, "--coefficients", path, *sizes]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(name, runs[name][-1], flush=True)
            found = {name: np.load(f"{folder}/{name}.npy").astype(float) for name in args.contestants}
            result = compare(args, runs, found) | {
                "rounds": done_rounds,
                "load_average_before": load,
                "versions": {
                    "python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__,
                    "scipy": scipy.__version__, "scikit-learn": sklearn.__version__,
                },
            }  # fmt: skip
            if args.out:  # after every round, so that little is lost when stopped
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def compare(args: argparse.Namespace, runs: dict, found: dict) -> dict:
    """Medians of the runs so far, their ratios, and how far the coefficients differ."""
    import numpy as np

    seconds = {name: statistics.median(x[args.clock] for x in runs[name]) for name in runs}
    extra = {name: statistics.median(x["extra_mb"] for x in runs[name]) for name in runs}

    def over(values: dict[str, float], a: str, b: str) -> float | None:
        return values[a] / values[b] if a in values and b in values else None

    reference = found.get("sklearn64", found.get("sklearn"))
    return {
        "ratios": {
            "sklearn float32 / ols (seconds, target >= 5)": over(seconds, "sklearn", "ols"),
            "sklearn float64 / ols (seconds)": over(seconds, "sklearn64", "ols"),
            "sklearn float64 / ols in float64 products (seconds)": over(seconds, "sklearn64", "ols64"),
            "ols / sklearn float32 (extra memory, target <= 0.25)": over(extra, "ols", "sklearn"),
            "ridge of 20 penalties / ols (seconds, target <= 1.5)": over(seconds, "ridge20", "ols"),
            "ridge of 20 penalties / ridge of one (seconds)": over(seconds, "ridge20", "ridge1"),
            "the same in float64 products (seconds)": over(seconds, "ridge20_64", "ridge1_64"),
        },
        "largest difference to sklearn float64, relative to the largest coefficient (target 1e-4)": {
            name: float(np.abs(found[name] - reference).max() / np.abs(reference).max())
            for name in found
            if name.startswith(("ols", "sklearn"))
        },
        "norm of that difference, relative": {
            name: float(np.linalg.norm(found[name] - reference) / np.linalg.norm(reference))
            for name in found
            if name.startswith(("ols", "sklearn"))
        },
        "median_seconds": seconds,
        "clock": args.clock,
        "threads": args.threads,
        "median_extra_mb": extra,
        "runs": runs,
        "sizes": {"rows": args.rows, "units": args.units, "latents": args.latents, "dtype": "float32"},
        "hardware": machine.hardware(),
        "command": machine.command(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
