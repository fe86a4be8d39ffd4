"""Sweeps that are killed: at every step that changes files, and at random moments, they go on and end the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ZYGOTE = """
import os, pathlib, random, shutil, signal, sys, time
sys.path.insert(0, sys.argv[2])
import numpy, torch, pandas, pyarrow.parquet
from lis_toolkit.sweep import Sweep, filling, plan, sweep_units
from tiny_sweep import content, tiny_models
torch.set_num_threads(1)
plan.ROWS_PER_FILE = 9
signal.signal(signal.SIGINT, signal.SIG_IGN)  # till a child is ready for it
root, mode = pathlib.Path(sys.argv[1]), sys.argv[3]
models = tiny_models()
options = dict(units=[1, 4], samples=1, psi=0.9, thumbnails=True, progress=False)
fsync = os.fsync
os.fsync = lambda number: None  # SIGKILL leaves what was written with the system; only a power cut needs it

def child(folder, prepare=lambda: None):
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            torch.set_num_threads(1)  # makes torch's own pool anew, which a fork leaves broken
            prepare()
            sweep_units(*models, out=folder, **options)
            os._exit(0)
        except KeyboardInterrupt as stop:
            os._exit(3 if "the same call" in str(stop) else 4)
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
    return pid

def run(folder, prepare=lambda: None):
    return os.waitstatus_to_exitcode(os.waitpid(child(folder, prepare), 0)[1])

def die_at(step):
    # Kill this process at its n-th call that changes files, some of them half done.
    count = [0]
    def counted(function, half=None):
        def call(*arguments, **keywords):
            count[0] += 1
            if count[0] > step:
                if half is not None:
                    half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)
        return call
    write_bytes = pathlib.Path.write_bytes
    pathlib.Path.write_bytes = counted(write_bytes, lambda path, data: write_bytes(path, data[:len(data) // 2]))
    os.replace, os.fsync, os.unlink, os.mkdir = map(counted, (os.replace, os.fsync, os.unlink, os.mkdir))
    filling.compute_piece = counted(filling.compute_piece)

assert run(root / "whole") == 0
start = time.monotonic()
assert run(root / "warm") == 0
duration = time.monotonic() - start
whole = content(root / "whole")
names = sorted(os.listdir(root / "whole"))
if mode == "steps":
    step = 0
    while True:
        folder = root / f"step{step}"
        first = run(folder, lambda: die_at(step))
        if (folder / "manifest.json").exists():  # what is there can be read at any time
            part = Sweep.open(folder)
            assert not part.finished or len(part.table()) == len(part)
        again = run(folder, lambda: die_at(step // 2)) if step % 3 == 2 else None  # killed twice
        assert again in (None, -signal.SIGKILL, 0), (step, first, again)
        sweep_units(*models, out=folder, **options)  # here, where everything is warm
        assert content(folder) == whole, step
        assert sorted(os.listdir(folder)) == names, os.listdir(folder)
        shutil.rmtree(folder)
        if first == 0:
            break
        assert first == -signal.SIGKILL, first
        step += 1
    print("steps", step)
else:
    # A moment may come after the end of a quick run: such a trial counts for nothing, and another one is made.
    random.seed(0)
    kills = trial = 0
    while kills < int(mode):
        assert trial < 10 * int(mode), f"{kills} of {trial} runs were stopped before their end"
        trial += 1
        folder = root / f"random{trial}"
        while True:
            pid = child(folder)
            time.sleep(random.uniform(0.0, duration))
            os.kill(pid, random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            # 4: Ctrl-C before the call began, or after it ended
            assert code in (0, 3, 4, -signal.SIGKILL), code
            kills += code != 0
            duration *= 0.8 if code == 0 else 1  # the machine was slower when it was measured
            if code == 0 or random.random() < 0.2:
                break
        sweep_units(*models, out=folder, **options)
        assert content(folder) == whole, trial
    print("kills", kills)
"""


def killed(tmp_path, mode):
    arguments = [sys.executable, "-c", ZYGOTE, str(tmp_path), str(Path(__file__).parent), mode]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])


def test_killed_at_every_step_it_goes_on_and_ends_the_same(tmp_path):
    assert killed(tmp_path, "steps") > 30  # so many places to die at


def test_killed_at_twenty_random_moments(tmp_path):
    assert killed(tmp_path, "20") >= 20
