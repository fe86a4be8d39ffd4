"""The paper's procedure written plainly: one unit and one sample at a time; set, link, render, segment, measure.

Rows are those of `sweep_units`, measured by scikit-image region by region. Used as the reference of `bench_sweep.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import laplace
from skimage.filters.rank import entropy
from skimage.measure import label, perimeter, regionprops
from skimage.metrics import structural_similarity
from skimage.morphology import disk
from torch import Tensor

RADIUS, LEVELS = (
    2,
    32,
)  # disk (pixels) and grey levels of local entropy: what `measure_parts` takes for small pictures


def measure_picture(x: np.ndarray, labels: np.ndarray, parts: tuple[str, ...]) -> dict[str, float]:
    """Measure a grey picture [H, W] in the unit range part by part."""
    row: dict[str, float] = {}
    texture = entropy((x * (LEVELS - 1)).round().astype(np.uint8), disk(RADIUS))
    for index, part in enumerate(parts, start=1):
        mask = labels == index
        if not mask.any():
            row[f"{part}.code"] = 1
            continue
        region = regionprops(mask.astype(np.uint8))[0]
        row[f"{part}.code"] = 0 if mask.sum() >= 5 else 2  # too small for an ellipse
        row[f"{part}.area"] = region.area / mask.size
        row[f"{part}.luminance"] = x[mask].mean()
        row[f"{part}.entropy"] = texture[mask].mean()
        row[f"{part}.perimeter"] = perimeter(mask)
        down, right = region.centroid
        row[f"{part}.centre_y"], row[f"{part}.centre_x"] = (
            (down + 0.5) / mask.shape[0],
            (right + 0.5) / mask.shape[1],
        )
        row[f"{part}.major_axis"] = region.axis_major_length
        row[f"{part}.minor_axis"] = region.axis_minor_length
        row[f"{part}.eccentricity"] = region.eccentricity
        row[f"{part}.angle"] = region.orientation
        row[f"{part}.components"] = label(mask, connectivity=2).max()
    row["picture.foreground"] = (labels > 0).mean()
    row["picture.luminance"] = x.mean()
    row["picture.sharpness"] = laplace(x, mode="constant")[1:-1, 1:-1].var()
    return row


class PapersSegmenter(torch.nn.Module):
    """The segmentation network at the paper's size: every second layer at 128 px, dilations 1 2 1 2 1."""

    def __init__(self, generator, outputs: int):
        super().__init__()
        specs = generator.architecture.layers[:-1]
        self.layers = [spec.name for spec in specs[1::2]]
        channels = [sum(spec.out_channels for spec in specs[1::2]), 128, 64, 64, 32, outputs]
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(a, b, 3, padding=d, dilation=d)
            for a, b, d in zip(channels[:-1], channels[1:], (1, 2, 1, 2, 1), strict=True)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        h = torch.cat(
            [F.interpolate(m, (128, 128), mode="bilinear", align_corners=False) for m in maps], dim=1
        )
        for i, convolution in enumerate(self.convolutions):
            h = convolution(F.leaky_relu(h, 0.2) if i else h)
        return h.argmax(dim=1)


@torch.no_grad()
def plain_sweep(
    generator,
    classifier,
    link,
    segmenter,
    starts: Tensor,
    units: list[int],
    steps: int,
    render: Callable | None = None,
) -> Iterator[dict[str, float]]:
    """Give the rows of units x samples x steps, one sample and unit at a time.

    `render` maps w [N, W] to pictures and the segmenter's feature maps; default: the generator's `render_features`.
    """
    if render is None:

        def render(w: Tensor) -> tuple[Tensor, list[Tensor]]:
            return generator.render_features(w, segmenter.layers)

    parts = segmenter.legend.parts
    before = []
    for r in starts:
        x, _ = render(link(r[None]))
        before.append((x[0, 0].numpy(), classifier.features(x)[0]))
    for unit in units:
        values = torch.linspace(float(link.unit_min[unit]), float(link.unit_max[unit]), steps)
        for sample, r in enumerate(starts):
            changed = r.repeat(steps, 1)
            changed[:, unit] = values
            x, maps = render(link(changed))
            labels = segmenter(maps).argmax(dim=1).numpy()
            encoded = classifier.features(x)
            logits = classifier.head(encoded)
            start_x, start_r = before[sample]
            for step in range(steps):
                picture = x[step, 0].numpy()
                row = measure_picture(picture, labels[step], parts)
                row.update(unit=unit, sample=sample, step=step, value=float(values[step]))
                row["encoded"] = float(encoded[step, unit])
                row["top_class"] = int(logits[step].argmax())
                row["picture.similarity"] = structural_similarity(start_x, picture, data_range=1.0)
                moved = ((encoded[step] - start_r) / link.unit_std).abs().argsort(descending=True)[:8]
                row["moved_units"] = moved.tolist()
                row["moved_changes"] = (encoded[step] - start_r)[moved].tolist()
                row.update(
                    {
                        f"logit.{name}": float(v)
                        for name, v in zip(classifier.classes, logits[step], strict=True)
                    }
                )
                yield row
