"""What `import lis_toolkit` adds to `import torch`, in fresh processes.

    python tests/benchmarks/bench_import.py --out tests/benchmarks/results/bench_import.json

Each process imports torch, then lis_toolkit, and times both; medians. Which heavy libraries came along is listed too.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import machine

HEAVY = [
    "scipy",
    "pandas",
    "matplotlib",
    "plotly",
    "sklearn",
    "PIL",
    "torchvision",
    "IPython",
    "ipywidgets",
    "anywidget",
    "pyarrow",
]
PROBE = """
import sys, time
a = time.perf_counter()
import torch
b = time.perf_counter()
before = set(sys.modules)
import lis_toolkit
c = time.perf_counter()
new = [m for m in %r if m in set(sys.modules) - before]
print(b - a, c - b, ",".join(new))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    torch_seconds, own_seconds, heavy = [], [], ""
    for i in range(args.repeats + 1):
        done = subprocess.run(
            [sys.executable, "-c", PROBE % HEAVY], check=True, capture_output=True, text=True
        )
        first, second, heavy = done.stdout.rstrip("\n").split(" ")
        if i:  # the first fills the disk cache and writes bytecode
            torch_seconds.append(float(first))
            own_seconds.append(float(second))
    import torch

    result = {
        "import torch, median seconds": round(statistics.median(torch_seconds), 3),
        "import lis_toolkit after it, median seconds (target <= 0.5)": round(
            statistics.median(own_seconds), 3
        ),
        "heavy libraries that came along": heavy.split(",") if heavy else [],
        "runs": {
            "torch": [round(t, 3) for t in torch_seconds],
            "lis_toolkit": [round(t, 3) for t in own_seconds],
        },
        "load_average_before": load,
        "hardware": machine.hardware(),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "command": machine.command(),
    }
    machine.report(result, args.out)


if __name__ == "__main__":
    main()
