"""From a key press to the new picture, in a real JupyterLab: the UnitExplorer on the bundled models.

    python tests/benchmarks/bench_explorer.py --out tests/benchmarks/results/bench_explorer.json

A slider has the focus and gets an arrow key. The clock runs in the page, from the time stamp of the key's event to the
end of the first frame whose canvases hold the picture of the new value. Moves are apart in time, as those of a hand
that looks at each picture; the charts, which are drawn after the picture, are sometimes still being drawn when the next
key is pressed. `legs` are the parts of that time: until the kernel's handler has the value, until the kernel sends the
picture (rendering is in it), until the canvas has it, until the frame is done. `held` is a key that repeats every
33 ms: pictures a second, and how long after its last event the last picture is there. `render` is what the kernel takes
for the same values without a browser, in parts: the link, the generator, the classifier; `tune` is all three and what
the session does around them. `growth` is what is there after the moves and was not before. Both transports, one after
the other, each in a kernel of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
import lab
import torch

TRANSPORTS = ("raw", "jpeg")
LEGS = ("to_the_kernel", "in_the_kernel", "to_the_canvas", "to_the_frame")
REPEAT = 0.033  # seconds between the events of a held key

MODELS = """
import lis_toolkit as lis
from lis_widgets import UnitExplorer
generator, classifier = lis.load_generator("fashion"), lis.load_classifier("fashion")
pairs = lis.collect_pairs(generator, classifier, None, per_class=100, psi=0.7, seed=0)
link = lis.fit_link(pairs, method="ridge")
"""
EXPLORER = """
explorer = UnitExplorer(generator, classifier, link, pairs=pairs, transport={transport!r})
explorer
"""
# Times in ms; a move is over when the frame behind the picture's change has been handed to the screen.
CLOCK = """() => {
    const slider = document.querySelector(".lis-explorer input.lis-slider");
    const picture = document.querySelector(".lis-explorer .lis-picture");
    const clock = { moves: [], last: 0, waiting: false, frames: [] };
    const wall = now => (performance.timeOrigin + now) / 1000;
    window.lisClock = clock;
    slider.addEventListener("keydown", event => {
        clock.last = event.timeStamp;
        clock.waiting = true;
    }, true);
    const draw = drawn => requestAnimationFrame(() => {
        const channel = new MessageChannel();  // its message comes when the frame is done
        channel.port1.onmessage = () => {
            const now = performance.now();
            clock.frames.push(now);
            if (clock.waiting) clock.moves.push({ ms: now - clock.last, at: [clock.last, drawn, now].map(wall) });
            clock.waiting = false;
        };
        channel.port2.postMessage(0);
    });
    new MutationObserver(() => draw(performance.now())).observe(picture, {
        attributes: true, attributeFilter: ["data-revision"],
    });
}"""
# When a value arrives in the kernel, and when its picture leaves; the clocks are of one machine.
STAMPS = """
import time
stamps = dict(moved=[], shown=[])
explorer.sliders.on_move(lambda values: stamps["moved"].append(time.time()))
explorer.picture.observe(lambda change: stamps["shown"].append(time.time()), "revision")
"""
RENDER = """
import json, statistics, time
import torch
with torch.no_grad():
    session, unit = explorer.session, explorer.unit
    start = session.start(explorer.which.value, explorer.seed.value)
    low, high = session.observed(unit)
    parts = dict(link=[], generator=[], classifier=[], tune=[])
    def timed(name, call):
        began = time.perf_counter()
        result = call()
        parts[name].append(1000 * (time.perf_counter() - began))
        return result
    for i in range({count}):
        value = low + (high - low) * (i % 101) / 100
        r = start.r.clone()[None]
        r[0, unit] = value
        w = timed("link", lambda: link(r))
        x = timed("generator", lambda: generator.render(w))
        timed("classifier", lambda: classifier.features(x))
        timed("tune", lambda: session.tune(start, {{unit: value}}))
print(json.dumps(parts))
"""


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest, in ms."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
        "max": round(ordered[-1], 1),
        "count": len(ordered),
    }


def key(step: int) -> str:
    return "ArrowLeft" if step % 120 < 60 else "ArrowRight"


def moves(notebook: lab.Notebook, count: int, pause: float) -> dict[str, list[float]]:
    """Press a key, wait for the picture and a little longer, and again; ms from key to picture, and its legs."""
    page = notebook.page
    for step in range(count):
        done = page.evaluate("() => lisClock.moves.length")
        page.keyboard.press(key(step))
        page.wait_for_function("done => lisClock.moves.length > done", arg=done, timeout=10_000, polling=10)
        # Not in step with the screen's frames, and the charts of the move before are sometimes being drawn.
        time.sleep(pause * (0.5 + (step * 0.618034) % 1))
    seen = page.evaluate("() => lisClock.moves.splice(0)")
    told = json.loads(
        notebook.execute("import json; print(json.dumps(stamps)); [t.clear() for t in stamps.values()]")
    )
    legs: dict[str, list[float]] = {name: [] for name in ("all", *LEGS)}
    for move in seen:
        pressed, drawn, frame = move["at"]
        moved = [t for t in told["moved"] if pressed < t < drawn]
        shown = [t for t in told["shown"] if pressed < t < drawn]
        legs["all"].append(move["ms"])
        if moved and shown:
            stops = [pressed, moved[0], shown[-1], drawn, frame]
            for name, start, end in zip(LEGS, stops, stops[1:], strict=False):
                legs[name].append(1000 * (end - start))
    return legs


def held(notebook: lab.Notebook, seconds: float) -> dict[str, object]:
    """A key that repeats: pictures a second, and the age of a picture: from the newest press before it."""
    page = notebook.page
    page.evaluate("() => { lisClock.moves.length = lisClock.frames.length = 0; }")
    began, presses = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        page.keyboard.down(key(presses))
        presses += 1
        time.sleep(max(0.0, began + presses * REPEAT - time.monotonic()))
    page.keyboard.up("ArrowLeft")
    page.keyboard.up("ArrowRight")
    took = time.monotonic() - began
    page.wait_for_timeout(1500)
    frames = page.evaluate("() => lisClock.frames.splice(0)")
    last = page.evaluate("() => lisClock.last")
    gaps = [b - a for a, b in zip(frames, frames[1:], strict=False)]
    return {
        "presses_a_second": round(presses / took, 1),
        "pictures_a_second": round(len(frames) / took, 1),
        "between_pictures_ms": summary(gaps),
        "last_press_to_last_picture_ms": round(frames[-1] - last, 1),
    }


def measure(browser, server, transport: str, options: argparse.Namespace) -> dict[str, object]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.watch = lab.Watch(page)
    server.write([MODELS, EXPLORER.format(transport=transport)], f"{transport}.ipynb")
    notebook = lab.Notebook(page, server, f"{transport}.ipynb")
    notebook.run_all()
    notebook.check_cells()
    slider = page.locator(".lis-explorer input.lis-slider").first
    page.locator(".lis-explorer .js-plotly-plot").first.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    page.evaluate(CLOCK)
    notebook.execute(STAMPS)
    slider.focus()
    moves(notebook, 20, options.pause)
    before = notebook.kernel_counts() | notebook.page_counts()
    apart = moves(notebook, options.moves, options.pause)
    page.wait_for_timeout(1500)
    after = notebook.kernel_counts() | notebook.page_counts()
    repeated = held(notebook, options.held)
    render = json.loads(notebook.execute(RENDER.format(count=options.renders)))
    notebook.watch.check()
    page.close()
    shown, tune = summary(apart.pop("all")), summary(render["tune"])
    return {
        "key_to_picture_ms": shown,
        "legs_ms": {name: summary(values) for name, values in apart.items()},
        "render_ms": {name: summary(values) for name, values in render.items()},
        "transport_and_drawing_ms": round(shown["median"] - tune["median"], 1),
        "held": repeated,
        "growth": {
            "open_comms": after["comms"] - before["comms"],
            "open_comms_before": before["comms"],
            "kernel_mib": round((after["rss"] - before["rss"]) / 2**20, 1),
            "page_heap_mib": round((after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) / 2**20, 1),
            "dom_nodes": after["Nodes"] - before["Nodes"],
            "event_listeners": after["JSEventListeners"] - before["JSEventListeners"],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moves", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.15, help="seconds between two moves, about")
    parser.add_argument("--held", type=float, default=6.0, help="seconds that a key is held")
    parser.add_argument("--renders", type=int, default=200, help="renders without a browser")
    parser.add_argument("--transports", nargs="*", default=TRANSPORTS, choices=TRANSPORTS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    names = ("jupyterlab", "ipykernel", "ipywidgets", "anywidget", "plotly", "playwright", "torch")
    result: dict[str, object] = {
        "command": machine.command(),
        "hardware": machine.hardware(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in names},
        "moves": options.moves,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        lab.server(folder) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=lab.CHROMIUM, args=lab.CHROMIUM_FLAGS)
        result["versions"]["chromium"] = browser.version
        for transport in options.transports:
            result[transport] = measure(browser, server, transport, options)
            print(transport, result[transport], file=sys.stderr, flush=True)
        browser.close()
    machine.report(result, options.out)


if __name__ == "__main__":
    main()
