"""What `lis models` prints: bundled and published models as a table, torchvision's many classifiers by family."""

from __future__ import annotations

import itertools
import re
import textwrap

from .downloads.torchvision_weights import all_weights
from .zoo import entries


def describe_models(all: bool = False) -> str:
    """Return the text of `lis models`: a table, and torchvision's classifiers by name, or with `all` in the table.

    Examples
    --------
    >>> print(describe_models())
    """
    header = ("name", "kind", "from", "size", "licence", "sha256", "description")
    rows = [header]
    for entry in entries(torchvision=all):
        origin = "bundled" if entry.url is None else "downloaded" if entry.available else "downloadable"
        size = "unknown" if entry.size is None else f"{entry.size / 1e6:.1f} MB"
        digest = "unknown" if entry.sha256 is None else entry.sha256[:12]
        description = f"{entry.description} [{entry.note}]" if entry.note else entry.description
        rows.append((entry.name, entry.kind, origin, size, entry.licence, digest, description))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header) - 1)]
    lines = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines if all else [*lines, "", *_families()])


def _families() -> list[str]:
    """Return torchvision's classifiers, one line for each family of architectures."""
    weights = all_weights()
    names = list(dict.fromkeys(one.architecture for one in weights))
    lines = [
        f"Downloadable classifiers of torchvision, {len(names)} architectures with {len(weights)} weights on ImageNet "
        "(all with size and hash: lis models --all):"
    ]
    for _, family in itertools.groupby(names, key=lambda name: re.sub(r"[^a-z].*", "", name)):
        lines += textwrap.wrap(", ".join(family), 118, initial_indent="  ", subsequent_indent="    ")
    return lines
