"""`lis lab` for real: a JupyterLab on copies of the tutorials, on this machine alone."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import lab
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """`lis lab` without a browser of its own: its address with the token, what it printed, and the copies."""
    folder = tmp_path_factory.mktemp("lis")
    environment = dict(os.environ) | {name: str(folder / name.lower()) for name in lab.FOLDERS}
    command = [
        sys.executable,
        "-m",
        "lis_toolkit.cli",
        "lab",
        "mine",
        "--no-browser",
        "--port",
        "0",
        "--allow-root",
    ]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            while not (
                found := re.search(r"http://(?:127.0.0.1|localhost):\S+", (folder / "log").read_text())
            ):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
            yield found[0], folder / "log", folder / "mine", process
        finally:
            process.kill()


def test_it_answers_and_shows_the_tutorials(started, open_page):
    address, log, mine, _ = started
    assert re.search(r"\d+ notebooks in .*mine: \d+ new, 0 updated", log.read_text())
    assert {path.name for path in mine.glob("*.ipynb")} == {p.name for p in lab.NOTEBOOKS.glob("*.ipynb")}
    assert "/lab/tree/00_quickstart.ipynb" in address
    token = address.split("token=")[1]
    url = address.split("/lab")[0].replace("localhost", "127.0.0.1")
    with urllib.request.urlopen(f"{url}/api/contents?token={token}") as answer:
        assert "03_units.ipynb" in [item["name"] for item in json.load(answer)["content"]]
    page = open_page()
    page.goto(address.replace("localhost", "127.0.0.1"))
    page.locator(".jp-Notebook h1", has_text="Quickstart").wait_for(timeout=60_000)
    # A server that is ended while a kernel starts was seen to take more than half a minute.
    deadline, states = time.monotonic() + 180, []
    while states != ["idle"]:
        assert time.monotonic() < deadline, states
        time.sleep(0.2)
        with urllib.request.urlopen(f"{url}/api/kernels?token={token}") as answer:
            states = [kernel["execution_state"] for kernel in json.load(answer)]
    page.close()


def test_it_listens_on_this_machine_alone(started):
    import psutil

    process = psutil.Process(started[3].pid)
    listening = [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening and set(listening) <= {"127.0.0.1", "::1"}


def test_termination_ends_it(started):
    _, log, _, process = started
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it still runs:\n{Path(log).read_text()[-2000:]}")
