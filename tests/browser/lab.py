"""A real JupyterLab on loopback, and a notebook in it as a person at a browser sees it."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
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


@contextmanager
def server(folder):
    """Run JupyterLab on copies of the notebooks in a temporary folder; gives its address and token."""
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
            yield _address(process, folder), token
        finally:
            process.terminate()  # the server ends its kernels
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process, folder):
    for _ in range(600):
        if process.poll() is not None:
            break
        for path in (folder / "jupyter_runtime_dir").glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except (ValueError, KeyError):
                pass  # half written: look again
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{(folder / 'server.log').read_text()[-3000:]}")


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
        if message.type == "error":
            self.errors.append(line)

    def _visit(self, url):
        parts = urlparse(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
            self._note(self.strangers, f"request to {url}")

    def check(self):
        assert not self.errors, "\n".join(self.errors)
        assert not self.strangers, "\n".join(self.strangers)


class Notebook:
    """One notebook in a page of JupyterLab."""

    def __init__(self, page, url, token, name):
        self.page, self.name = page, name
        page.goto(f"{url}lab/tree/{name}?token={token}&reset")
        page.wait_for_function(
            """name => {
                const widget = window.jupyterapp?.shell?.currentWidget;
                return widget?.context?.path === name && widget.context.isReady
                    && widget.sessionContext?.session?.kernel?.status === "idle";
            }""",
            arg=name,
            timeout=90_000,
        )

    def run_all(self, timeout=180):
        """Run every cell and wait until the kernel has nothing left to do."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        self.page.wait_for_function(
            """() => {
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

    def theme(self, name):
        """Change JupyterLab's theme, and wait until its colours are there."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        light = str("Dark" not in name).lower()
        self.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)
        self.page.wait_for_timeout(500)


class Explorer:
    """The UnitExplorer of a notebook, by what is on the screen."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = self.page.locator(".lis-explorer")
        self.handle = self.root.locator(".lis-unit .noUi-handle")
        self.root.locator("canvas").nth(2).wait_for(timeout=60_000)
        self.root.locator(".js-plotly-plot .gtitle").nth(1).wait_for(timeout=60_000)

    def pixels(self):
        """RGB bytes of each canvas: list of (height, width, bytes)."""
        found = self.root.locator("canvas").evaluate_all(
            """canvases => canvases.map(canvas => {
                const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                return [canvas.height, canvas.width, Array.from(data).filter((_, i) => i % 4 !== 3)];
            })"""
        )
        return [(height, width, bytes(values)) for height, width, values in found]

    def captions(self):
        return self.root.locator("figcaption").all_text_contents()

    def readout(self):
        return float(self.root.locator(".lis-unit .widget-readout").inner_text())

    def wait_for_caption(self, text, timeout=20):
        """Wait until the middle picture says that it is of this value."""
        self.root.locator("figcaption").nth(1).filter(has_text=text).wait_for(timeout=timeout * 1000)

    def message(self):
        return self.root.locator(".lis-message").inner_text()


def contrast(first, second):
    """WCAG contrast of two CSS colours such as "rgb(1, 2, 3)"."""

    def luminance(colour):
        channels = [float(v) / 255 for v in re.findall(r"[\d.]+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(first), luminance(second)))
    return (bright + 0.05) / (dark + 0.05)
