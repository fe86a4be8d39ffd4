"""Rendering against the literal formulas, in the same run; pictures compared; the share of the machine's peak.

    python tests/benchmarks/bench_synthesis.py --out tests/benchmarks/results/bench_synthesis.json

The reference is `tests/literal.py`: zeros inserted and filtered by depthwise convolutions, a weight for every sample,
one grouped convolution. Networks are the published ImageNet ones (StyleGAN-XL, random weights) at 64, 128 and 256 px,
one picture at a time, and the bundled generator, 8 pictures at a time. Contestants take turns; times are medians over
rounds, after one round to warm up (which also prepares frozen weights: `prepare_seconds`). The peak is the best rate
of plain matrix products and 3 x 3 convolutions seen in the run; `share_of_peak` counts the multiplications of the
formulas' convolutions, so that a convolution with fewer of them can exceed 1; `done_share_of_peak` counts those done.
On an accelerator (--device) the table is pictures a second for batches of 1, 8 and 32 in each precision, and memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import machine
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from lis_toolkit.stylegan import Generator, GeneratorConfig, load_generator
from lis_toolkit.stylegan.generator import PRECISIONS
from lis_toolkit.stylegan.layer import SynthesisLayer
from literal import literal_synthesis

STAGES = {16: 0, 32: 1, 64: 2, 128: 3, 256: 4}  # published ImageNet generators: stages of super-resolution


def wait(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def seconds(call, device: str) -> float:
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def convolution_products(generator: Generator) -> tuple[float, float]:
    """Multiply-adds x 2 of one picture's convolutions: by the formulas, and as Winograd's do them in float32."""
    total = done = 0.0
    for layer in generator.modules():
        if isinstance(layer, SynthesisLayer):
            spec = layer.spec
            side = spec.in_size + spec.kernel - 1
            flops = 2 * side**2 * layer.weight.numel()
            total += flops
            fast = layer._prepared.values.get(("winograd", torch.float32))
            if fast is None:
                done += flops
            else:
                count = min(layer.nonlinearity().window.size, side)
                points = [(tile + 2) * -(-count // tile) for tile in fast.tile]
                done += 2 * points[0] * points[1] * layer.weight[:, :, 0, 0].numel()
    return total, done


def peak(dtype: torch.dtype, device: str) -> dict[str, float]:
    """GFLOP/s of large matrix products and of a 3 x 3 convolution of 1,024 channels, the best of 8."""
    a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))
    x = torch.randn(1, 1024, 64, 64, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(1024, 1024, 3, 3, device=device).to(dtype)
    product = min(seconds(lambda: a @ b, device) for _ in range(8))
    convolution = min(seconds(lambda: F.conv2d(x, weight), device) for _ in range(8))
    return {
        "matrix_product": 2 * 2048**3 / product / 1e9,
        "convolution": 2 * 62**2 * weight.numel() / convolution / 1e9,
    }


def compare(generator: Generator, batch: int, rounds: int, peaks: dict[str, float]) -> dict[str, object]:
    ws = generator.broadcast(
        generator.map(generator.sample_z(batch, 0), 3 if generator.c_dim else None)
    ).contiguous()
    contestants = {"reference": lambda: literal_synthesis(generator, ws)}
    for name in ("float32", "bfloat16"):
        contestants[name] = lambda name=name: generator.synthesis(ws, PRECISIONS[name])
    pictures, prepare = {}, {}
    for name, call in contestants.items():
        start = time.perf_counter()
        pictures[name] = call()
        prepare[name] = time.perf_counter() - start
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds):
        for name in list(contestants)[:: 1 if i % 2 else -1]:
            times[name].append(seconds(contestants[name], "cpu") / batch)
    flops, done = convolution_products(generator)
    result: dict[str, object] = {"batch": batch, "rounds": rounds, "convolution_gflop_an_image": flops / 1e9}
    reference = statistics.median(times["reference"])
    for name, values in times.items():
        median = statistics.median(values)
        error = (pictures[name] - pictures["reference"]).abs() / 2  # in the unit range
        result[name] = {
            "seconds_an_image": median,
            "spread": [min(values), max(values)],
            "first_call_seconds": prepare[name],
            "ratio": reference / median,
            "largest_difference": error.max().item(),
            "mean_difference_of_255": error.mean().item() * 255,
        }
        if name in peaks:
            result[name]["share_of_peak"] = flops / median / 1e9 / peaks[name]
            if name == "float32":
                result[name]["done_share_of_peak"] = done / median / 1e9 / peaks[name]
    return result


def accelerated(generator: Generator, device: str, peaks: dict[str, float], rounds: int) -> list[dict]:
    rows = []
    flops, _ = convolution_products(generator)
    for precision in PRECISIONS:
        for batch in (1, 8, 32):
            w = generator.map(generator.sample_z(batch, 0), 3)
            torch.accelerator.reset_peak_memory_stats()
            seconds(lambda: generator.render(w, batch, precision), device)  # noqa: B023
            each = [seconds(lambda: generator.render(w, batch, precision), device) for _ in range(rounds)]  # noqa: B023
            rate = batch / statistics.median(each)
            rows.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "images_a_second": rate,
                    "share_of_peak": flops * rate / 1e9 / peaks[precision],
                    "peak_memory_gib": torch.accelerator.max_memory_allocated() / 2**30,
                }
            )
    return rows


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolutions", type=int, nargs="*", default=[64, 128, 256], choices=list(STAGES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = ("float32", "bfloat16") if options.device == "cpu" else tuple(PRECISIONS)
    rates = {name: peak(PRECISIONS[name], options.device) for name in names}
    peaks = {name: max(rate.values()) for name, rate in rates.items()}
    result: dict[str, object] = {
        "command": machine.command(),
        "hardware": machine.hardware(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "peak_gflop_s": rates,
    }
    for resolution in options.resolutions:
        torch.manual_seed(0)
        generator = Generator(GeneratorConfig(stages=((2, 7),) * STAGES[resolution]))
        generator = generator.eval().requires_grad_(False).to(options.device)
        key = f"imagenet{resolution}"
        if options.device == "cpu":
            result[key] = compare(generator, 1, options.rounds, peaks)
        else:
            result[key] = accelerated(generator, options.device, peaks, options.rounds)
        print(key, result[key], file=sys.stderr, flush=True)
    if options.device == "cpu":
        result["bundled"] = compare(load_generator("fashion"), 8, 10 * options.rounds, peaks)
    machine.report(result, options.out)


if __name__ == "__main__":
    main()
