"""Load every file of a folder under a limit of memory, and say in JSON lines what came of it. Run as a program."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

LIMIT = 2**29  # bytes of address space beyond what the libraries and one sound generator take


def status(key: str) -> int:
    """A number of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def main(folder: str) -> None:
    from lis_toolkit.stylegan import load_generator

    sound = Path(folder) / "sound.pkl"
    load_generator(sound)  # whatever is imported late is imported now
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + LIMIT,) * 2)
    for path in sorted(Path(folder).glob("*.pkl")):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, start = status("VmRSS"), time.monotonic()
        try:
            load_generator(path)
            kind, said = "loaded", ""
        except BaseException as error:
            kind, said = type(error).__name__, str(error)
        seconds, peak = time.monotonic() - start, status("VmHWM") - before
        print(
            json.dumps({"file": path.stem, "kind": kind, "said": said, "seconds": seconds, "peak": peak}),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
