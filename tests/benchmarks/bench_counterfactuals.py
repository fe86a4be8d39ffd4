"""Counterfactuals on the bundled models: how good, how fast, against the published walk, on the same starts.

    python tests/benchmarks/bench_counterfactuals.py --parts quality --processes 2 --folder FOLDER --out RESULT
    python tests/benchmarks/bench_counterfactuals.py --parts kernels batch speed --out RESULT
    python tests/benchmarks/bench_counterfactuals.py --parts margins why --figure PICTURE --out RESULT

with RESULT = tests/benchmarks/results/bench_counterfactuals.json; a part replaces its own figures there and leaves the
others. The link is a ridge fit on 400 pairs a class of seed 0; starts are other pairs, seed 7 (of `margins` seed 11),
the same number for each of the 90 ordered class pairs.

`quality` (540 starts, half an hour idle, nearly all of it method "paper"): the measures of `measure_counterfactuals`
with their intervals for every method, of all and of the starts at which every method succeeds, and what fails by class
pair. Results are saved in --folder, walks in blocks, and a run that was interrupted goes on there. `speed` (three
minutes): seconds and renders per success, 90 starts, one call a method; "paper" goes all its way with the last number
of threads, and 100 steps with the others. `batch` (a minute): 256 starts in one call against one call each, of 24 of
them. `kernels`: one picture and its derivative, alone and in batches; what a call costs before the first picture.
`margins`: 180 starts, what the judge says and how far it is for several margins, drawn as a figure. `why`: the closed
form's shift itself, in each metric, before any line search.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import counterfactual_figures
import machine
import pandas
import torch
from torch import Tensor

import lis_toolkit as lis
from lis_toolkit import counterfactuals

BLOCK = 45  # starts of a walk that is saved
METHODS = {
    "closed_form": {"method": "closed_form"},
    "latent": {"method": "latent"},
    "latent, realism 0.1": {"method": "latent", "realism": 0.1},
    "closed_form, euclidean": {"method": "closed_form", "metric": "euclidean"},
    "closed_form, sparse": {"method": "closed_form", "metric": "sparse"},
}
MARGINS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)


class Bench:
    """The models, and starts for all class pairs."""

    def __init__(self) -> None:
        self.generator, self.classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")

    @functools.cached_property
    def link(self) -> lis.Link:
        return lis.fit_link(self.pairs(0, 400), method="ridge")

    @functools.cached_property
    def judge(self) -> lis.Classifier:
        return lis.load_classifier("fashion-judge")

    def pairs(self, seed: int, per_class: int) -> lis.Pairs:
        return lis.collect_pairs(
            self.generator, self.classifier, per_class=per_class, seed=seed, progress=False
        )

    def starts(self, seed: int, per_pair: int) -> tuple[Tensor, list[int]]:
        """Activations [90 n, R] and targets: 90 rows are one start of every ordered class pair."""
        pairs = self.pairs(seed, 54)
        k = len(pairs.classes)
        rows, targets = [], []
        for turn in range(per_pair):
            for origin in range(k):
                own = (pairs.labels == origin).nonzero()[:, 0].tolist()
                for other in range(k - 1):
                    rows.append(own[turn * (k - 1) + other])
                    targets.append((origin + 1 + other) % k)
        return pairs.r[torch.tensor(rows)], targets

    def find(self, r: Tensor, targets: list[int], **settings) -> lis.Counterfactuals:
        return lis.find_counterfactuals(self.generator, self.classifier, self.link, r, targets, **settings)

    def measure(
        self, result: lis.Counterfactuals, real: lis.Pairs | None = None
    ) -> lis.CounterfactualMeasures:
        return lis.measure_counterfactuals(
            result, self.generator, self.classifier, self.link, judge=self.judge, pairs=real
        )


def walk(block: int, folder: str, per_pair: int) -> None:
    """Method "paper" for one block of starts; in a process of its own."""
    torch.set_num_threads(1)
    bench = Bench()
    r, targets = bench.starts(7, per_pair)
    some = slice(BLOCK * block, BLOCK * (block + 1))
    kept(Path(folder) / f"paper_{block}", lambda: bench.find(r[some], targets[some], method="paper"))


def kept(place: Path, make: Callable[[], lis.Counterfactuals]) -> lis.Counterfactuals:
    """Load the result of a run before, or make and save it."""
    if place.exists():
        return lis.Counterfactuals.load(place)
    result = make()
    result.save(place)
    return result


def quality(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    r, targets = bench.starts(7, options.per_pair)
    folder = options.folder or Path(tempfile.mkdtemp())
    results = {
        name: kept(folder / name.replace(", ", "_"), functools.partial(bench.find, r, targets, **settings))
        for name, settings in METHODS.items()
    }
    if not options.without_paper:
        blocks = range(-(-len(r) // BLOCK))
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(options.processes, mp_context=spawn) as pool:
            list(pool.map(functools.partial(walk, folder=str(folder), per_pair=options.per_pair), blocks))
        walked = [lis.Counterfactuals.load(folder / f"paper_{block}") for block in blocks]
        results = {"paper": lis.Counterfactuals.concat(walked), **results}
    real = bench.pairs(8, 110)
    measures = {name: bench.measure(result, real) for name, result in results.items()}
    against = "paper" if "paper" in measures else "closed_form"
    compared = counterfactuals.compare_methods(measures, against)
    found: dict[str, object] = {"starts": len(r), "margin": float(results["latent"].settings["margin"])}
    found["measures"] = {name: summary(m) for name, m in measures.items()}
    found["where_all_succeed"] = common(compared)
    found["ways"] = {name: result.table["way"].value_counts().to_dict() for name, result in results.items()}
    found["by_pair"] = {name: by_pair(m) for name, m in measures.items()}
    for which in ("all", "common"):
        print(f"\n{which}\n{counterfactuals.comparison_table(compared, which).to_string()}", flush=True)
    return found


def summary(measures: lis.CounterfactualMeasures) -> dict[str, list[float]]:
    """Value, its interval and n of every measure."""
    rows = measures.summary.itertuples()
    return {row.measure: [*map(plain, (row.value, row.low, row.high)), int(row.n)] for row in rows}


def common(compared: pandas.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Value, mean difference from the method compared with, its interval, and n, where all methods succeed."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in compared[compared["rows"] == "common"].itertuples():
        values = row.value, row.difference, row.difference_low, row.difference_high
        found.setdefault(row.method, {})[row.measure] = [*map(plain, values), int(row.n)]
    return found


def plain(value: float) -> float | None:
    """Round; what is no number has no place in JSON."""
    return round(float(value), 5) if math.isfinite(value) else None


def by_pair(measures: lis.CounterfactualMeasures) -> list[dict[str, object]]:
    return json.loads(measures.by_pair().round(4).to_json(orient="records"))


def timed(call: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def speed(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    r, targets = bench.starts(7, 1)
    found: dict[str, object] = {"starts": len(r)}
    for threads in options.threads:
        torch.set_num_threads(threads)
        bench.find(r[:8], targets[:8])  # warm
        times: dict[str, list[float]] = {}
        rows: dict[str, dict[str, float]] = {}
        for turn in range(options.rounds):
            for name in ("closed_form", "latent"):
                took, result = timed(functools.partial(bench.find, r, targets, method=name))
                times.setdefault(name, []).append(took)
                rows[name] = cost(result)
            if turn:
                continue
            steps = None if threads == options.threads[-1] else 100
            took, result = timed(functools.partial(bench.find, r, targets, method="paper", steps=steps))
            times["paper"], rows["paper"] = [took], {**cost(result), "steps_at_most": steps or 2000}
        for name, row in rows.items():
            row["seconds"] = statistics.median(times[name])
            row["seconds_per_success"] = row["seconds"] / max(row["successes"], 1)
            row["ms_per_render"] = 1000 * row["seconds"] / row["all_renders"]
            table(f"speed, {threads} thread(s)", name, row)
        found[f"threads_{threads}"] = rows
    last = found[f"threads_{options.threads[-1]}"]
    found["of_paper"] = {
        name: {
            key: last[name][key] / last["paper"][key]
            for key in ("seconds_per_success", "renders_per_success")
        }
        for name in ("closed_form", "latent")
    }
    for threads in options.threads[:-1]:
        # The walks of the last number of threads, at this one's time for a render.
        own = found[f"threads_{threads}"]
        whole = own["paper"]["ms_per_render"] / 1000 * last["paper"]["renders_per_success"]
        own["of_paper_seconds_estimated"] = {
            name: own[name]["seconds_per_success"] / whole for name in ("closed_form", "latent")
        }
    print(json.dumps(found["of_paper"], indent=1))
    return found


def cost(result: lis.Counterfactuals) -> dict[str, float]:
    rows = result.table
    renders, successes = int(rows["renders"].sum()), int(rows["success"].sum())
    return {
        "successes": successes,
        "all_renders": renders,
        "renders_per_success": renders / max(successes, 1),
    }


def batch(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    r, targets = bench.starts(7, 3)
    r, targets = r[:256], targets[:256]
    step = len(r) // options.singles
    alone = [slice(i * step, i * step + 1) for i in range(options.singles)]
    found: dict[str, object] = {"batch": len(r), "singles": len(alone)}
    for threads in options.threads:
        torch.set_num_threads(threads)
        for name in ("closed_form", "latent"):
            find = functools.partial(bench.find, method=name)
            find(r[:64], targets[:64])
            times = [timed(functools.partial(find, r[one], targets[one]))[0] for one in alone[::2]]
            together = timed(functools.partial(find, r, targets))[0]
            times += [timed(functools.partial(find, r[one], targets[one]))[0] for one in alone[1::2]]
            row = {
                "single_ms": 1000 * statistics.fmean(times),
                "single_median_ms": 1000 * statistics.median(times),
                "batch_ms_per_sample": 1000 * together / len(r),
                "times_faster": statistics.fmean(times) / (together / len(r)),
            }
            found[f"{name}, threads_{threads}"] = row
            table("batch of 256 against one by one", f"{name}, {threads} thread(s)", row)
    return found


def kernels(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    r, targets = bench.starts(7, 3)
    link, found = bench.link, {}

    def forward(part: Tensor) -> None:
        with torch.inference_mode():
            bench.classifier.head(bench.classifier.features(bench.generator.render(link.linear(part))))

    def backward(part: Tensor) -> None:
        w = link.linear(part).detach().requires_grad_()
        logits = bench.classifier.head(bench.classifier.features(bench.generator.render(w)))
        torch.autograd.grad(logits[:, 0].sum(), w)

    for threads in options.threads:
        torch.set_num_threads(threads)
        for n in (1, 16, 64, 256):
            row = {}
            for name, call in (("forward", forward), ("forward_and_backward", backward)):
                call(r[:n])
                times = [timed(functools.partial(call, r[:n]))[0] for _ in range(max(3, min(30, 256 // n)))]
                row[f"{name}_ms_per_sample"] = 1000 * statistics.median(times) / n
            found[f"batch_{n}, threads_{threads}"] = row
            table("one picture", f"batch of {n}, {threads} thread(s)", row)
        found[f"before_the_first_picture, threads_{threads}"] = row = before(bench, r, targets)
        table("before the first picture", f"{threads} thread(s)", row)
    return found


def before(bench: Bench, r: Tensor, targets: list[int]) -> dict[str, float]:
    """What a call costs before the first picture: the look at the models' hashes, the closed form's program."""
    from lis_toolkit.counterfactuals.shortest import shortest_shift

    weight, bias = counterfactual_figures.head(bench)
    sigma = bench.link.statistics.sigma
    calls = {"check_ms": lambda: bench.link.check(bench.generator, bench.classifier)}
    for n in (1, 256):
        rows, goals = r[:n], torch.tensor(targets[:n])
        calls[f"program_of_{n}_ms_per_sample"] = functools.partial(
            shortest_shift, rows, goals, weight, bias, sigma, margin=3.0
        )
    row = {}
    for name, call in calls.items():
        call()
        share = 256 if "256" in name else 1
        row[name] = 1000 * statistics.median(timed(call)[0] for _ in range(5)) / share
    return row


def margins(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    r, targets = bench.starts(11, 2)
    found: dict[str, dict[str, object]] = {}
    for name in counterfactual_figures.COLOURS:
        for margin in MARGINS:
            found[f"{name}, margin {margin:g}"] = summary(
                bench.measure(bench.find(r, targets, **METHODS[name], margin=margin))
            )
            some = ("validity", "agreement_judge", "distance_w", "pixels", "renders")
            row = {key: found[f"{name}, margin {margin:g}"][key][0] for key in some}
            table("margins", f"{name}, margin {margin:g}", row)
    default = float(bench.find(r[:1], targets[:1]).settings["margin"])
    if options.figure:
        counterfactual_figures.tradeoff(found, MARGINS, default, len(r), options.figure)
    return {"starts": len(r), "seed": 11, "default_margin": default, "measures": found}


def why(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(options.threads[-1])
    r, targets = bench.starts(7, 2)
    rows = counterfactual_figures.shifts(bench, r, torch.tensor(targets))
    for name, row in rows.items():
        table("the closed form's shift itself", name, {k: v for k, v in row.items() if isinstance(v, float)})
    return {"starts": len(r), "head_margin_asked": counterfactual_figures.HEAD_MARGIN, "shifts": rows}


def table(title: str, name: str, row: dict[str, float]) -> None:
    print(
        f"{title:36} {name:28}", *(f"{key} {value:.4g}" for key, value in row.items()), sep="  ", flush=True
    )


PARTS = {
    "kernels": kernels,
    "batch": batch,
    "speed": speed,
    "why": why,
    "margins": margins,
    "quality": quality,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["kernels", "batch", "speed"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path, help="of `margins`")
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/lis_walks"), help="of `quality`, for its walks"
    )
    parser.add_argument("--processes", type=int, default=2, help="of `quality`, for its walks")
    parser.add_argument("--per-pair", type=int, default=6, help="starts of each class pair in `quality`")
    parser.add_argument("--without-paper", action="store_true", help="leave the walks out of `quality`")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="of `speed`")
    parser.add_argument("--singles", type=int, default=24, help="of `batch`")
    options = parser.parse_args()
    if options.figure and "margins" not in options.parts:
        parser.error("--figure belongs to --parts margins")
    bench = Bench()
    result = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for name in options.parts:
        start = time.perf_counter()
        figures = PARTS[name](bench, options)
        result[name] = {
            "command": machine.command(),
            "hardware": machine.hardware(),
            "versions": {"torch": torch.__version__, "lis_toolkit": lis.__version__},
            "threads": options.threads if name in ("kernels", "batch", "speed") else torch.get_num_threads(),
            "minutes": round((time.perf_counter() - start) / 60, 2),
            **figures,
        }
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
