"""The whole workflow on the bundled models, measured and written up: what `lis demo` runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from .classifiers import Classifier, load_classifier
from .datasets import FASHION_CLASSES, Photographs, load_fashion
from .demo_counterfactuals import explain_decisions
from .demo_numbers import best_answering, describe_link, describe_walk, pick_units, starting_points
from .demo_ranking import bundled_segmenter, rank_parts
from .errors import LisError
from .features import extract_features
from .files import provenance
from .folders import output_folder
from .link import Link, fit_link
from .link_report import LinkReport, report_link
from .pairs import Pairs, collect_pairs
from .sheets import class_sheet, contact_sheet, cycle_figure, head_weights
from .stylegan import load_generator
from .trust import LEVELS, findings
from .units import UnitWalk, tune_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .stylegan import Generator

__all__ = ["DemoResult", "run_demo"]

STAGES = (
    "models",
    "pairs",
    "link",
    "link report",
    "unit walks",
    "ranking",
    "counterfactuals",
    "sheets",
    "report",
)
WALK_SAMPLES, WALK_STEPS, PSI, HELD_OUT = 8, 7, 0.7, 0.2
CANDIDATES, PROBES, UNITS = 8, 2, 3  # units tried of each class, images to try them on, units shown


@dataclass
class DemoResult:
    """Where the results are, and all their numbers (the content of `metrics.json`)."""

    out: Path
    metrics: dict[str, Any]

    def summary(self) -> str:
        """Return a dozen lines for a terminal."""
        pairs = self.metrics["pairs"]
        lines = [
            f"{pairs['total']} generated pairs ({pairs['train']} fitted, {pairs['held_out']} held out), "
            f"{len(self.metrics['units'])} units walked, {self.metrics['seconds']['total']:.0f} s",
            "",
        ]
        for finding in findings(self.metrics):
            lines.append(f"[{LEVELS[finding.level]}] {finding.topic}: {finding.text}")
        lines += ["", f"open {self.out / 'report.html'}"]
        return "\n".join(lines)


@dataclass
class Clock:
    """Seconds of each stage, shown as a progress bar."""

    progress: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Clock:
        self.bar = tqdm(total=len(STAGES), disable=not self.progress, unit="stage", leave=False)
        self.start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one of the STAGES."""
        self.bar.set_description(name)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 2)
        self.seconds["total"] = round(time.perf_counter() - self.start, 2)
        self.bar.update()


def run_demo(
    out: str | os.PathLike[str],
    generator: str = "fashion",
    classifier: str = "fashion",
    per_class: int = 200,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
    units: Sequence[int] | None = None,
) -> DemoResult:
    """Run the whole workflow and write `report.html`, `metrics.json`, the link, a small sweep and PNG sheets.

    Parameters
    ----------
    out : path
        Folder; made if missing. Other files in it stay. After an error or Ctrl-C it is as before.
    generator, classifier : str
        Names in the zoo, or paths.
    per_class : int
        Generated pairs of each class, a fifth of which is held out.
    seed : int
        Of all random numbers.
    device : torch device, optional
        Default: the loaders' own.
    progress : bool
        Show progress bars.
    units : sequence of int, optional
        Units that are set and ranked by what they do to parts; default: all, which takes most of the time.

    Returns
    -------
    DemoResult

    Raises
    ------
    LisError
        A folder that can't be written, unknown models, a class that can't be filled.

    Notes
    -----
    Source: the workflow of arXiv 2409.16865, with held-out and cycle measures added.

    Examples
    --------
    >>> result = run_demo("demo", per_class=50)
    >>> result.metrics["link"]["r2"]
    """
    with output_folder(out) as folder, Clock(progress) as clock, torch.no_grad():
        metrics = _run(folder, generator, classifier, per_class, seed, device, clock, units)
    return DemoResult(Path(out), metrics)


def _run(
    folder: Path,
    generator_name: str,
    classifier_name: str,
    per_class: int,
    seed: int,
    device: str | torch.device | None,
    clock: Clock,
    ranked_units: Sequence[int] | None,
) -> dict[str, Any]:
    from .report_html import render_report

    with clock.stage("models"):
        generator = load_generator(generator_name, device=device)
        classifier = load_classifier(classifier_name, device=device)
        if not classifier.has_head:
            raise LisError(
                f"{classifier.name} is an encoder without a head; the demo shows what units do to classes. Use "
                "collect_pairs, fit_link and report_link, which need none."
            )
        photographs = matching_photographs(classifier)
        judge = None if photographs is None else load_classifier("fashion-judge", device=device)
    with clock.stage("pairs"):
        pairs = collect_pairs(
            generator, classifier, per_class=per_class, psi=PSI, seed=seed, progress=clock.progress
        )
        train, held_out = pairs.split(HELD_OUT, seed=seed)
    with clock.stage("link"):
        link = fit_link(train, method="ridge")
        link.save(folder / "link.safetensors")
    with clock.stage("link report"):
        report = report_link(
            link,
            generator,
            classifier,
            held_out,
            photographs,
            judge=judge,
            seed=seed,
            progress=clock.progress,
        )
        link_numbers = describe_link(link, report, classifier.classes)
    with clock.stage("unit walks"):
        weights = head_weights(classifier)  # [K, R]
        candidates = pick_units(weights, link.unit_std, link_numbers["cycle_correlation"], CANDIDATES)
        walks: dict[int, list[UnitWalk]] = {}
        for k, r in starting_points(classifier, held_out, photographs, PROBES + WALK_SAMPLES).items():
            probes, shown = (r[:PROBES], r[PROBES:]) if len(r) > PROBES else (r, r)
            chosen = best_answering(generator, classifier, link, probes, candidates[k], UNITS)
            walks[k] = [
                tune_unit(generator, classifier, link, shown, unit, steps=WALK_STEPS) for unit in chosen
            ]
        units = [describe_walk(walk, classifier.classes, k, weights) for k in walks for walk in walks[k]]
    with clock.stage("ranking"):
        segmenter = bundled_segmenter(generator)
        ranking: dict[str, Any] | None = None
        ranked: dict[str, Figure] = {}
        if segmenter is not None:
            ranking, ranked = rank_parts(
                generator,
                classifier,
                link,
                segmenter,
                train,
                photographs,
                folder,
                seed,
                clock.progress,
                ranked_units,
            )
    with clock.stage("counterfactuals"):
        ways, drawn = explain_decisions(generator, classifier, link, judge, held_out, photographs, seed)
    metrics: dict[str, Any] = {
        "settings": {
            "per_class": per_class,
            "psi": PSI,
            "seed": seed,
            "held_out": HELD_OUT,
            "method": "ridge",
            "walk_steps": WALK_STEPS,
            "walk_samples": WALK_SAMPLES,
            "candidates": CANDIDATES,
            "device": str(generator.device),
            "photographs": 0 if photographs is None else len(photographs),
        },
        "models": {
            "generator": {
                "name": generator.name,
                "sha256": generator.hash,
                "classes": list(generator.classes),
            },
            "classifier": {
                "name": classifier.name,
                "sha256": classifier.hash,
                "classes": list(classifier.classes),
                "units": classifier.num_units,
            },
        },
        "pairs": {
            "total": len(pairs),
            "train": len(train),
            "held_out": len(held_out),
            "counts": {
                pairs.classes[k]: {"kept": int(kept), "tried": int(tried)}
                for k, (kept, tried) in pairs.counts.items()
            },
        },
        "link": link_numbers,
        "units": units,
        "ranking": ranking,
        "counterfactuals": ways,
        "provenance": provenance(threads=torch.get_num_threads()),
    }
    with clock.stage("sheets"):
        figures = draw_sheets(generator, classifier, link, report, pairs, photographs, walks, units)
        figures |= {f"parts_{name}": figure for name, figure in ranked.items()}
        figures |= {f"ways_{name}": figure for name, figure in drawn.items()}
        pictures = write_sheets(figures, folder / "sheets")
    with clock.stage("report"):
        # The page shows the time up to here: it can't hold the time it takes to be written itself.
        metrics["seconds"] = dict(clock.seconds)
        (folder / "metrics.json").write_text(
            json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
        (folder / "report.html").write_text(render_report(metrics, pictures), encoding="utf-8")
    return metrics


def matching_photographs(classifier: Classifier) -> Photographs | None:
    """Return the photographs inside the package if the classifier knows exactly their classes, else None."""
    fits = classifier.classes == FASHION_CLASSES and (classifier.channels, classifier.size) == (1, (32, 32))
    return load_fashion("sample") if fits else None


def draw_sheets(
    generator: Generator,
    classifier: Classifier,
    link: Link,
    report: LinkReport,
    pairs: Pairs,
    photographs: Photographs | None,
    walks: dict[int, list[UnitWalk]],
    units: list[dict[str, Any]],
) -> dict[str, Figure]:
    """Return the figures of the report by name."""
    from .plots import link_report_figure

    classes = classifier.classes
    rows = torch.cat([torch.nonzero(pairs.labels == k).flatten()[:16] for k in pairs.labels.unique()])
    figures = {
        "classes": class_sheet(
            generator.render(pairs.w[rows], batch_size=64), pairs.labels[rows], pairs.classes
        ),
        "link": link_report_figure(report),
    }
    captions = {
        unit["unit"]: f"slope {unit['slope']:.2f}\ncorrelation {unit['correlation']:.2f}" for unit in units
    }
    for k, rows_of_class in walks.items():
        if rows_of_class:
            own = [captions[walk.unit] for walk in rows_of_class]
            figures[f"units_{k}"] = contact_sheet(rows_of_class, classifier, captions=own, title=classes[k])
    # One unit of each of four classes, those that do best what they are set to.
    steepest: dict[str, int] = {}
    for unit in sorted(units, key=lambda unit: unit["slope"] * abs(unit["correlation"]), reverse=True):
        steepest.setdefault(unit["class"], unit["unit"])
    shown_units = list(steepest.values())[:4]
    best = [walk for rows_of_class in walks.values() for walk in rows_of_class if walk.unit in shown_units]
    if best:
        own = [captions[walk.unit] for walk in best]
        figures["best"] = contact_sheet(best, classifier, captions=own)
    if photographs is not None:
        first = torch.cat([torch.nonzero(photographs.labels == k).flatten()[:2] for k in range(len(classes))])
        first = first.reshape(-1, 2).T.flatten()  # one of each class, then the second of each
        shown = photographs.subset(first)
        features = extract_features(classifier, shown.images)
        again = generator.render(link(features.r), batch_size=64)
        before, after = features.logits, extract_features(classifier, again).logits
        assert before is not None and after is not None  # the classifier has a head
        figures["cycle"] = cycle_figure(shown.images, again, before, after, classes, labels=shown.labels)
    return figures


def write_sheets(figures: dict[str, Figure], folder: Path) -> dict[str, bytes]:
    """Write figures as PNG files into `folder`, and return the files' bytes by the figures' names."""
    folder.mkdir()
    pictures = {}
    for name, drawn in figures.items():
        path = folder / f"{name}.png"
        try:
            drawn.savefig(path)
        except OSError as error:
            raise LisError(f"can't write the sheet {name}.png: {error}. Is the disk full?") from error
        pictures[name] = path.read_bytes()
    parts = [pictures[name] for name in ("cycle", "best") if name in pictures]
    (folder / "overview.png").write_bytes(stack(parts or [pictures["classes"]]))
    return pictures


def stack(pngs: list[bytes]) -> bytes:
    """Put PNG pictures one below the other on white."""
    import io

    from PIL import Image

    parts = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    sheet = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    return stream.getvalue()
