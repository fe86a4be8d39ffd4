"""Dense flow between two pictures: where every pixel went, by OpenCV's DIS or torchvision's RAFT."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..downloads.download import by_hand
from ..downloads.file_records import check_contents
from ..errors import LisError
from ..images import check_images
from ..names import spelling_hint
from ..zoo import cache_folder
from .whole import luminance

METHODS = ("dis", "raft")
LEAST_SIZE = (
    128  # pixels; what both methods were made for begins about here, so smaller pictures are enlarged to it
)
_GAIN, _NO_CONTRAST = (
    0.18,
    0.02,
)  # nearly 3 spreads fit into the range; below 5 of 256 grey levels there is no contrast
_COARSE = 4  # pixels of a blur's standard deviation that are enough
_MULTIPLE = 8  # sides that RAFT takes

FlowMethod = Callable[[Tensor, Tensor], Tensor]


def dense_flow(before: Tensor, after: Tensor, method: str | FlowMethod = "dis") -> Tensor:
    """Find where every pixel of pictures went: dense optical flow.

    A pixel at (x, y) before is at (x + dx, y + dy) after. Pictures below 128 pixels are enlarged by a whole factor,
    smoothly, and the flow is averaged over every pixel and scaled back. Flow is a guess wherever there is no texture,
    along edges, and where something appeared or went: `measure_motion` says where it can be relied on.

    Parameters
    ----------
    before, after : pictures [N, C, H, W] in the unit range, C = 1 or 3; `before` may be a single one for all.
    method : "dis" (Kroeger et al. 2016, arXiv 1603.03590; OpenCV, with its "medium" settings, on `local_contrast`),
        "raft" (Teed and Deng 2020, arXiv 2003.12039; torchvision's small network, whose weights must be on this
        machine), or a function that takes two batches [N, C, H', W'], enlarged, and returns flow [N, 2, H', W'] in
        their pixels.

    Returns
    -------
    float32 [N, H, W, 2] on the CPU: dx to the right and dy downwards, in pixels of the pictures given.

    Raises
    ------
    LisError : pictures that do not fit each other, an unknown method, RAFT's weights missing or damaged.

    Examples
    --------
    >>> flow = dense_flow(walk.start, walk.images[:, -1])
    >>> flow.shape
    torch.Size([4, 32, 32, 2])
    """
    before = check_images(before, name="pictures before").detach().float().cpu().clamp(0, 1)
    after = check_images(after, name="pictures after").detach().float().cpu().clamp(0, 1)
    if before.shape[1:] != after.shape[1:] or len(before) not in (1, len(after)):
        raise LisError(
            f"the pictures before have shape {list(before.shape)}, those after {list(after.shape)}; the same, or one "
            "before, was expected."
        )
    luminance(before[:1])  # refuses other numbers of channels
    before = before.expand(len(after), -1, -1, -1)
    find = _method(method)
    factor = max(1, -(-LEAST_SIZE // min(before.shape[2:])))
    with torch.no_grad():
        flow = torch.as_tensor(find(_enlarge(before, factor), _enlarge(after, factor))).float().cpu()
    wanted = (len(after), 2, before.shape[2] * factor, before.shape[3] * factor)
    if flow.shape != wanted or not bool(torch.isfinite(flow).all()):
        raise LisError(
            f"the flow method gave shape {list(flow.shape)}; finite values {list(wanted)} were expected."
        )
    return (F.avg_pool2d(flow, factor) / factor).permute(0, 2, 3, 1).contiguous()


def dis_flow(before: Tensor, after: Tensor) -> Tensor:
    """Find the flow [N, 2, H, W] between pictures [N, C, H, W] by OpenCV's DIS.

    It is given `local_contrast` in 256 levels: units change the brightness of a garment at least as much as its shape,
    and on plain luminance DIS takes that for motion.

    Examples
    --------
    >>> dis_flow(torch.rand(2, 1, 128, 128), torch.rand(2, 1, 128, 128)).shape
    torch.Size([2, 2, 128, 128])
    """
    import cv2
    import numpy as np

    old, new = (
        (local_contrast(luminance(x)) * 255).round().to(torch.uint8).cpu().numpy() for x in (before, after)
    )  # [N, H, W]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = [search.calc(a, b, np.zeros((*a.shape, 2), np.float32)) for a, b in zip(old, new, strict=True)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def local_contrast(light: Tensor) -> Tensor:
    """Even out brightness and contrast: the deviation from the mean around every pixel, by the spread there.

    "Around" is a Gaussian window whose standard deviation is a fifth of the shorter side. A picture that is darker, or
    shaded, gives nearly the same; spreads far below 0.02 count as none, so that noise is not made texture.

    Parameters
    ----------
    light : luminance [N, H, W], 0 to 1.

    Returns
    -------
    [N, H, W], 0 to 1; 0.5 where a pixel is as bright as its surroundings.

    Examples
    --------
    >>> local_contrast(torch.ones(1, 16, 16)).max()
    tensor(0.5000)
    """
    spread = min(light.shape[1:]) / 5  # narrower windows lose motions of a tenth of the side
    deviation = light - _blur(light, spread)
    return (0.5 + _GAIN * deviation / (_blur(deviation**2, spread).sqrt() + _NO_CONTRAST)).clamp(0, 1)


def _blur(x: Tensor, spread: float) -> Tensor:
    """Blur pictures [N, H, W] by a Gaussian of standard deviation `spread` in pixels, wide ones on reduced pictures."""
    size = (x.shape[1], x.shape[2])
    factor = max(1, int(spread / _COARSE))
    small = F.avg_pool2d(x[:, None], factor, ceil_mode=True)  # [N, 1, h, w]
    spread = spread / factor
    reach = math.ceil(3 * spread)
    weights = torch.exp(-((torch.arange(-reach, reach + 1) / spread) ** 2) / 2).to(x)
    weights = weights / weights.sum()
    wide = F.pad(small, (reach,) * 4, mode="replicate")
    small = F.conv2d(F.conv2d(wide, weights[None, None, :, None]), weights[None, None, None, :])
    return small[:, 0] if factor == 1 else F.interpolate(small, size, mode="bilinear")[:, 0]


def raft_flow(network: nn.Module, before: Tensor, after: Tensor, batch_size: int = 8) -> Tensor:
    """Find the flow [N, 2, H, W] between pictures [N, C, H, W] in the unit range by one of torchvision's RAFT networks.

    Examples
    --------
    >>> raft_flow(load_raft(), torch.rand(2, 1, 128, 128), torch.rand(2, 1, 128, 128)).shape
    torch.Size([2, 2, 128, 128])
    """
    height, width = before.shape[2:]
    pad = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
    weight = next(network.parameters())

    def prepare(x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        return (F.pad(x, pad, mode="replicate") * 2 - 1).to(weight)

    with torch.no_grad():
        found = [
            network(prepare(a), prepare(b))[-1][:, :, :height, :width].float()
            for a, b in zip(before.split(batch_size), after.split(batch_size), strict=True)
        ]
    return torch.cat(found)


def raft_path() -> Path:
    """Return where torchvision's weights of the small RAFT are, or belong: our cache folder, or else torch's."""
    own = cache_folder() / "models" / _raft_weights().url.rsplit("/", 1)[-1]
    theirs = Path(torch.hub.get_dir()) / "checkpoints" / own.name
    return theirs if theirs.is_file() and not own.is_file() else own


def load_raft() -> nn.Module:
    """Load torchvision's small RAFT with its published weights, which must be on this machine already.

    Raises
    ------
    LisError : the weights are not there (says where to put them), or are damaged.

    Examples
    --------
    >>> network = load_raft()
    """
    from torchvision.models.optical_flow import raft_small

    from ..classifiers.state_dicts import load_state, read_state

    weights, path = _raft_weights(), raft_path()
    digits = path.stem.rsplit("-", 1)[-1]  # the first ones of its sha256
    if not path.is_file():
        raise LisError(
            f"RAFT's weights are not on this machine, and flow downloads nothing; take the method 'dis', or: "
            f"{by_hand(weights.url, path, about=round(weights.meta['_file_size'] * 2**20), sha256=digits)}"
        )
    check_contents(path, str(path), sha256=digits)
    network = raft_small(weights=None)
    load_state(network, read_state(path)[0], str(path), "raft_small")
    return network.eval().requires_grad_(False)


def _raft_weights() -> Any:
    from torchvision.models.optical_flow import Raft_Small_Weights

    return Raft_Small_Weights.DEFAULT


def _method(method: str | FlowMethod) -> FlowMethod:
    if callable(method):
        return method
    if method == "dis":
        return dis_flow
    if method == "raft":
        network = load_raft()
        return lambda before, after: raft_flow(network, before, after)
    raise LisError(
        f"no flow method {method!r}; there are {', '.join(map(repr, METHODS))}.{spelling_hint(str(method), METHODS)}"
    )


def _enlarge(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False).clamp(0, 1)
