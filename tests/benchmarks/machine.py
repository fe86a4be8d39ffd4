"""What every benchmark says beside its figures, and how it writes them."""

import json
import os
import platform
import sys
from pathlib import Path


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def hardware() -> dict[str, object]:
    return {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()}


def command() -> str:
    return "python " + " ".join(sys.argv)


def report(result: dict[str, object], out: Path | None) -> None:
    """Print the result as JSON and, where asked, write it."""
    text = json.dumps(result, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
