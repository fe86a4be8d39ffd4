"""A real JupyterLab on loopback, and a notebook in it as a person at a browser sees it."""

import base64
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import nbformat
import numpy as np
import torch

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ARTIFACTS = Path(os.environ.get("LIS_ARTIFACTS") or Path(__file__).parent / "artifacts")
CHROMIUM = os.environ.get("LIS_CHROMIUM", "/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # What is not on this machine cannot be found at all: the proof that nothing comes from a CDN.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Every cell is in the page, also where nobody has scrolled to.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTER_DATA_DIR",
    "IPYTHONDIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
)


def widget_notebooks():
    """Names of the notebooks that import lis_widgets."""
    return [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb")) if "lis_widgets" in path.read_text()]


class Server(NamedTuple):
    """A running JupyterLab: its address, its token, and the folder of its notebooks."""

    url: str
    token: str
    root: Path

    def address(self, name):
        return f"{self.url}lab/tree/{name}?token={self.token}&reset"

    def write(self, cells, name):
        """Write a notebook with these code cells where the server finds it."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.root / name)

    def end_kernels(self):
        """End every kernel, as at the end of a session."""
        for session in json.loads(self._ask("api/sessions")):
            self._ask(f"api/sessions/{session['id']}", "DELETE")

    def _ask(self, path, method="GET"):
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


@contextmanager
def server(folder):
    """Run JupyterLab on copies of the notebooks in a temporary folder."""
    folder, token = Path(folder), secrets.token_hex(16)
    environment = dict(os.environ)
    for name in FOLDERS:
        environment[name] = str(folder / name.lower())
        (folder / name.lower()).mkdir()
    # Equal numbers of threads here and there: sums in the same order, so pictures equal to the last bit.
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    for name, values in SETTINGS.items():
        path = folder / "jupyterlab_settings_dir" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    root = folder / "notebooks"
    root.mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(path, root)
    options = ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1",
               "--ServerApp.port=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
               "--LabApp.extension_manager=readonly"]  # fmt: skip
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            yield Server(_address(process, folder), token, root)
        finally:
            process.terminate()  # the server ends its kernels
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port():
    """A port that nobody listens on, for programs that can't choose one themselves and tell it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _address(process, folder):
    for _ in range(1800):
        if process.poll() is not None:
            break
        for path in (folder / "jupyter_runtime_dir").glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except (ValueError, KeyError):
                pass  # half written: look again
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{(folder / 'server.log').read_text()[-3000:]}")


def eventually(check, seconds=20):
    """Return what `check` returns once it raises no AssertionError; for what follows an event some time later.

    Its errors are told when the time is over. What is to stay as it is needs another test.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)  # what asks the page or the kernel lets events of the page arrive, too


# Jupyter Server answers so when JupyterLab asks for the list of kernels, as it does time and again, while one is being
# started: it has no `last_activity` yet. JupyterLab asks again later.
SERVERS_OWN = re.compile(r"status of 500 .*/api/kernels\?\d+\)$")


class Watch:
    """Everything that a page must not do: console errors, exceptions, requests to other machines."""

    def __init__(self, page):
        self.errors, self.strangers, self.log = [], [], []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(self.errors, f"page error: {error}"))
        page.on("request", lambda request: self._visit(request.url))
        page.on("websocket", lambda socket: self._visit(socket.url))

    def _note(self, where, line):
        where.append(line)
        self.log.append(line)

    def _console(self, message):
        line = f"{message.type}: {message.text} ({message.location.get('url', '')})"
        self.log.append(line)
        if message.type == "error" and not SERVERS_OWN.search(line):
            self.errors.append(line)

    def _visit(self, url):
        parts = urlparse(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
            self._note(self.strangers, f"request to {url}")

    def check(self):
        assert not self.errors, "\n".join(self.errors)
        assert not self.strangers, "\n".join(self.strangers)


IDLE = """name => {
    const widget = window.jupyterapp?.shell?.currentWidget;
    return (!name || widget?.context?.path === name) && widget?.context?.isReady
        && widget.sessionContext?.session?.kernel?.status === "idle";
}"""


KERNEL_COUNTS = """
import collections, comm, gc, json, threading
import psutil
gc.collect()
_classes = [type(thing) for thing in gc.get_objects()]
_known = collections.Counter(f"{str(c.__module__).split('.')[0]}.{c.__name__}" for c in _classes)
_ours = {name: n for name, n in _known.items() if name.startswith(("lis_", "ipywidgets.", "torch.Tensor", "comm."))}
print(json.dumps(dict(
    comms=len(comm.get_comm_manager().comms), threads=threading.active_count(),
    rss=psutil.Process().memory_info().rss, objects=_ours,
)))
del _classes, _known, _ours
"""


class Notebook:
    """One notebook in a page of JupyterLab."""

    def __init__(self, page, server, name):
        self.page, self.name = page, name
        page.goto(server.address(name))
        page.wait_for_function(IDLE, arg=name, timeout=90_000)

    @property
    def watch(self):
        """What the page did that it must not do: `notebook.watch.check()`."""
        return self.page.watch

    def run_all(self, timeout=180):
        """Run every cell and wait until the kernel has nothing left to do."""
        # Counts of an earlier run stay until a cell's turn comes: only the command knows when all are done.
        self.page.evaluate(
            """() => {
                const run = window.lisRun = { done: false };
                const end = () => { run.done = true; };
                window.jupyterapp.commands.execute("notebook:run-all-cells").then(end, end);
            }"""
        )
        self.page.wait_for_function(
            """() => {
                if (!window.lisRun.done) return false;
                const widget = window.jupyterapp.shell.currentWidget;
                const code = widget.content.model.toJSON().cells.filter(c => c.cell_type === "code");
                const failed = code.some(c => c.outputs.some(o => o.output_type === "error"));
                const done = code.every(c => c.execution_count !== null || c.source.length === 0);
                return failed || (done && widget.sessionContext.session.kernel.status === "idle");
            }""",
            timeout=timeout * 1000,
        )

    def code_cells(self):
        cells = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells")
        return [cell for cell in cells if cell["cell_type"] == "code"]

    def check_cells(self):
        """Every code cell has run, none with an error."""
        for cell in self.code_cells():
            errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
            assert not errors, "\n".join([cell["source"], "", *errors[0]["traceback"]])
            assert cell["execution_count"] or not cell["source"].strip(), f"was not run:\n{cell['source']}"

    def execute(self, code):
        """Run code in the kernel without a cell; returns what it printed."""
        status, text = self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code, store_history: false });
                let text = "";
                future.onIOPub = message => {
                    if (message.header.msg_type === "stream") text += message.content.text;
                    if (message.header.msg_type === "error") text += message.content.traceback.join("\\n");
                };
                const reply = await future.done;
                return [reply.content.status, text];
            }""",
            code,
        )
        assert status == "ok", text
        return text.strip()

    def wait_idle(self, timeout=90):
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(IDLE, arg=None, timeout=timeout * 1000)

    def restart_kernel(self, wait=True):
        """Restart the kernel as the menu does, without its dialog; its variables and widgets' partners are gone."""
        self.page.evaluate(
            """wait => {
                const done = window.jupyterapp.shell.currentWidget.sessionContext.restartKernel();
                return wait ? done : null;
            }""",
            wait,
        )
        if wait:
            self.wait_idle()

    def kernel_process(self):
        return int(self.execute("import os; print(os.getpid())"))

    def kill_kernel(self, process=None):
        """Kill the kernel's process as the system does when memory runs out; JupyterLab then starts another one."""
        os.kill(process or self.kernel_process(), signal.SIGKILL)

    def kernel_counts(self):
        """What may pile up in the kernel: open comms, threads, bytes, and objects by class ("lis_widgets.Picture")."""
        return json.loads(self.execute(KERNEL_COUNTS))

    def page_counts(self):
        """What may pile up in the page, after a garbage collection: DOM nodes, event listeners, bytes of the heap."""
        session = self.page.context.new_cdp_session(self.page)
        try:
            session.send("Performance.enable")
            for _ in range(2):  # what the first one finalises, the second one frees
                session.send("HeapProfiler.collectGarbage")
            found = {
                item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]
            }
        finally:
            session.detach()
        return {name: found[name] for name in ("Nodes", "JSEventListeners", "JSHeapUsedSize")}

    def counts_at_rest(self, pause=500, most=60):
        """Return both counts once the kernel is idle and the page's stay as they are: all is drawn that is to be."""
        before, still = None, 0
        for _ in range(most):
            self.wait_idle()
            counts = self.page_counts()
            still = still + 1 if before == (now := (counts["Nodes"], counts["JSEventListeners"])) else 0
            if still == 3:
                return self.kernel_counts() | counts
            before = now
            self.page.wait_for_timeout(pause)
        raise AssertionError(f"the page never comes to rest: {counts}")

    def theme(self, name):
        """Change JupyterLab's theme ("JupyterLab Light", "JupyterLab Dark"), and wait for its colours."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        light = str("Dark" not in name).lower()
        self.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)
        self.page.wait_for_timeout(500)

    @contextmanager
    def width(self, width, height=1000):
        """Make the window this wide (CSS pixels) for a while."""
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(500)
        try:
            yield
        finally:
            self.page.set_viewport_size(before)
            self.page.wait_for_timeout(300)

    def screenshot(self, locator, path):
        """Write a PNG of one element, all of it: the window is made high enough for a while."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        size = self.page.viewport_size
        high = locator.bounding_box()["height"]
        with self.width(size["width"], max(size["height"], int(high) + 250)):
            locator.scroll_into_view_if_needed()
            self.page.mouse.move(0, 0)  # nothing is lit up because the mouse rests on it
            self.page.wait_for_timeout(300)
            locator.screenshot(path=path)


# Texts that are seen, each with its colour and what is behind it, both as they come out after transparency.
TEXTS = """root => {
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = colour => {
        probe.clearRect(0, 0, 1, 1);
        probe.fillStyle = "#000";
        probe.fillStyle = colour;
        probe.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => below.map((v, i) => top[i] * top[3] + v * (1 - top[3]));
    const chain = element => {
        const found = [];
        for (let e = element; e; e = e.parentElement) found.unshift(e);
        return found;
    };
    const behind = element => {
        let colour = [255, 255, 255];
        for (const e of chain(element)) {
            if (e instanceof SVGElement) continue;
            const [r, g, b, a] = rgba(getComputedStyle(e).backgroundColor);
            colour = over([r, g, b, a * Number(getComputedStyle(e).opacity)], colour);
        }
        return colour;
    };
    const FIELDS = "input[type=text], input[type=number], input[type=search], textarea";
    const own = e => {
        if (e.matches("select")) return e.selectedOptions[0]?.textContent ?? "";
        if (e.matches(FIELDS)) return e.value || e.placeholder;
        if (e.matches("option, script, style")) return "";
        return [...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE).map(n => n.data).join(" ");
    };
    const found = [];
    for (const e of [root, ...root.querySelectorAll("*")]) {
        const text = own(e).trim(), box = e.getBoundingClientRect();
        if (!text || box.width < 2 || box.height < 2) continue;
        if (!e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (e.closest(":disabled, [aria-disabled=true]")) continue;  // what can't be used is exempt in WCAG
        const hint = e.matches(FIELDS) && !e.value;
        const style = getComputedStyle(e, hint ? "::placeholder" : null);
        const [r, g, b, a] = rgba(e instanceof SVGElement ? getComputedStyle(e).fill : style.color);
        const faint = hint ? Number(style.opacity) : 1;
        const opacity = chain(e).reduce((all, x) => all * Number(getComputedStyle(x).opacity), faint);
        const back = behind(e);
        const name = e.tagName.toLowerCase() + [...e.classList].map(c => "." + c).join("");
        found.push([text.slice(0, 60), name, `rgb(${over([r, g, b, a * opacity], back)})`, `rgb(${back})`]);
    }
    return found;
}"""


def contrast_of(locator):
    """Contrast of every text that is seen in an element, worst first: (ratio, text, element, colour, background).

    Assert with `lab.check_contrast(locator)`. A text whose background is a picture or a gradient is compared with the
    plain colour below that.
    """
    found = locator.first.evaluate(TEXTS)
    return sorted(
        (contrast(colour, back), text, element, colour, back) for text, element, colour, back in found
    )


def check_contrast(locator, least=4.5, texts=1, seconds=10):
    """At least so many texts are seen in an element, and each can be read (WCAG AA: 4.5 to 1).

    Colours that are on their way to those of another theme have some seconds to get there.
    """

    def check():
        found = contrast_of(locator)
        assert len(found) >= texts, found
        poor = [row for row in found if row[0] < least]
        assert not poor, "\n".join(map(str, poor))

    eventually(check, seconds)


def check_fits(locator, seconds=10):
    """Nothing sticks out of an element; plots have some seconds to follow the width of the window."""

    def check():
        found = sticking_out(locator)
        assert found == []

    eventually(check, seconds)


def sticking_out(locator):
    """Visible parts of an element that end to the right of it, or are wider than their scrolled-over box allows."""
    return locator.first.evaluate(
        """root => {
            const own = root.getBoundingClientRect();
            const found = [];
            for (const e of root.querySelectorAll("*")) {
                if (!e.checkVisibility() || (e.ownerSVGElement && e.tagName !== "text")) continue;
                const box = e.getBoundingClientRect();
                const beyond = Math.round(box.right - own.right);
                if (box.width > 2 && beyond > 1) found.push([e.tagName + "." + e.className, beyond]);
            }
            if (root.scrollWidth > root.clientWidth + 1) found.push(["scrolls sideways", root.scrollWidth]);
            return found;
        }"""
    )


def canvases(locator):
    """Pixels of every canvas in an element as they are drawn: list of uint8 [height, width, 3]."""
    found = locator.first.evaluate(
        """root => [...root.querySelectorAll("canvas")].map(canvas => {
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let text = "";
            for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
            return [canvas.height, canvas.width, btoa(text)];
        })"""
    )
    return [
        np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]
        for height, width, data in found
    ]


def same_picture(got, expected):
    """Pixel for pixel, but for a last bit of float32 that now and then falls on the other side of a rounding.

    The order of sums in another process depends on where its memory lies.
    """
    assert got.shape == expected.shape
    apart = np.abs(got.astype(int) - expected)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.005, (
        f"{(apart > 0).sum()} values differ, by {apart.max()}"
    )


def contrast(first, second):
    """WCAG contrast of two CSS colours such as "rgb(1, 2, 3)"."""

    def luminance(colour):
        channels = [float(v) / 255 for v in re.findall(r"[\d.]+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(first), luminance(second)))
    return (bright + 0.05) / (dark + 0.05)
