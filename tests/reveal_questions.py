"""Questions of the reveal game made of arithmetic, and the same reveal, plainly."""

import math

import numpy as np
import torch

from lis_toolkit.labels import make_question

CLASSES = ("Coat", "Shirt", "Bag", "Sandal")


def some_questions(images=3, clusters=2, layers=("body.1", "body.3"), size=16):
    rng = torch.Generator().manual_seed(3)
    pictures = torch.rand(images, 1, size, size, generator=rng)
    return [
        make_question(
            pictures[i], torch.rand(4, 4, generator=rng), i % len(CLASSES), CLASSES, image=i, layer=layer,
            cluster=c, explanation=f"{i:016x}", title=f"title of {layer}",
        )
        for i in range(images) for layer in layers for c in range(clusters)
    ]  # fmt: skip


def plain_bilinear(small, size):
    """Resize [h, w] pixel by pixel, centres at half pixels, edges repeated."""
    high, wide = small.shape
    out = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            fy = min(max((y + 0.5) * high / size[0] - 0.5, 0), high - 1)
            fx = min(max((x + 0.5) * wide / size[1] - 0.5, 0), wide - 1)
            y0, x0 = int(fy), int(fx)
            y1, x1 = min(y0 + 1, high - 1), min(x0 + 1, wide - 1)
            a, b = fy - y0, fx - x0
            upper = small[y0, x0] * (1 - b) + small[y0, x1] * b
            lower = small[y1, x0] * (1 - b) + small[y1, x1] * b
            out[y, x] = upper * (1 - a) + lower * a
    return out


def plain_reveal(image, small, share, sigma):
    """The reveal, pixel by pixel: sorted pixels, a sum of Gaussians with edges repeated, grey elsewhere."""
    high, wide = image.shape[-2:]
    full = plain_bilinear(small, (high, wide))
    order = sorted((-full[y, x], y, x) for y in range(high) for x in range(wide))
    hard = np.zeros((high, wide))
    for value, y, x in order[: max(1, round(share * high * wide))]:
        hard[y, x] = float(-value > full.min())
    reach = int(4 * sigma + 0.5)
    kernel = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(-reach, reach + 1)]
    mask = np.zeros_like(hard)
    for y in range(high):
        for x in range(wide):
            total = 0.0
            for i, a in enumerate(kernel):
                for j, b in enumerate(kernel):
                    yy, xx = y + i - reach, x + j - reach
                    total += a * b * hard[min(max(yy, 0), high - 1), min(max(xx, 0), wide - 1)]
            mask[y, x] = max(hard[y, x], total / sum(kernel) ** 2)
    return image * mask + 0.5 * (1 - mask), hard
