"""Persistence diagrams: when holes of each dimension appear and vanish, and what is kept of those that never do."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..errors import CheckpointError, LisError
from ..files import load_tensors, save_tensors
from ..names import finite_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Diagrams", "Essential"]

FORMAT = "lis_toolkit diagrams 1"
Essential = Literal["drop", "cap"] | float


@dataclass(frozen=True)
class Diagrams:
    """Persistence diagrams of one cloud, dimension by dimension.

    Attributes
    ----------
    finite : tuple of arrays
        [B, 2] float64 for H0, H1, ...: birth and death of every bar that ends, in the cloud's units, or in its median
        distances where `normalised`. Bars without length are left out.
    essential : tuple of arrays
        [E] births of the bars that never end, kept apart. Of a Vietoris-Rips complex of a cloud that is one in H0, the
        last component, and none above.
    scale : float
        Median distance between two points used, in the cloud's units; 0 when all points are the same.
    normalised : bool
        Whether births and deaths are multiples of `scale`.
    points, cloud_points, copies : int
        Points used, points that the cloud has, and how many of those used repeat another.
    settings, provenance : dict

    Examples
    --------
    >>> diagrams = persistence_diagrams(cloud)
    >>> diagrams.H1[:, 1] - diagrams.H1[:, 0]  # how long each loop lasts
    """

    finite: tuple[np.ndarray, ...]
    essential: tuple[np.ndarray, ...]
    scale: float
    normalised: bool
    points: int
    cloud_points: int
    copies: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        finite = tuple(np.asarray(bars, float).reshape(-1, 2) for bars in self.finite)
        essential = tuple(np.asarray(births, float).reshape(-1) for births in self.essential)
        if len(finite) != len(essential) or not finite:
            raise LisError(
                f"there are finite bars of {len(finite)} dimensions and essential ones of {len(essential)}; the same "
                "number, at least 1, was expected."
            )
        for dim, (bars, births) in enumerate(zip(finite, essential, strict=True)):
            if not (np.isfinite(bars).all() and np.isfinite(births).all()) or (bars[:, 1] < bars[:, 0]).any():
                raise LisError(f"H{dim} has bars that are not finite, or end before they begin.")
        object.__setattr__(self, "finite", finite)  # the class is frozen for its users
        object.__setattr__(self, "essential", essential)

    def __repr__(self) -> str:
        return f"Diagrams({self})"

    def __str__(self) -> str:
        bars = ", ".join(
            f"H{dim}: {len(bars)} bars" + (f" and {len(births)} without end" if len(births) else "")
            for dim, (bars, births) in enumerate(zip(self.finite, self.essential, strict=True))
        )
        unit = "in median distances" if self.normalised else "in the cloud's units"
        of = "" if self.points == self.cloud_points else f" of {self.cloud_points:,}"
        return f"{bars}; {self.points:,}{of} points, {unit} (median distance {self.scale:.4g})"

    @property
    def max_dim(self) -> int:
        """Highest dimension computed."""
        return len(self.finite) - 1

    @property
    def H0(self) -> np.ndarray:  # noqa: N802 - the name in every textbook
        """Finite bars of the components, [B, 2]."""
        return self.finite[0]

    @property
    def H1(self) -> np.ndarray:  # noqa: N802
        """Finite bars of the loops, [B, 2]; a LisError when only H0 was computed."""
        return self.bars(1)

    def bars(self, dim: int = 1, essential: Essential = "drop") -> np.ndarray:
        """Return births and deaths of one dimension, [B, 2], with a rule for the bars that never end.

        Parameters
        ----------
        dim
            0 components, 1 loops, 2 voids.
        essential
            "drop": leave them out. "cap": let them end at the largest finite death of their dimension. A number: let
            them end there, in the diagram's units.

        Raises
        ------
        LisError
            For a dimension that was not computed, or a number below a birth.

        Examples
        --------
        >>> diagrams.bars(0, essential="cap")
        """
        if isinstance(dim, bool) or dim not in range(len(self.finite)):
            raise LisError(
                f"there is no H{dim}: these diagrams have H0 to H{self.max_dim}; compute them with max_dim={dim}."
            )
        bars, births = self.finite[dim], self.essential[dim]
        if isinstance(essential, str) and essential == "drop":
            return bars
        if isinstance(essential, str) and essential == "cap":
            end = float(bars[:, 1].max()) if len(bars) else 0.0
        else:
            end = finite_number(essential, "essential", ", or 'drop' or 'cap'")
            if len(births) and end < births.max():
                raise LisError(
                    f"essential is {end:g}, but H{dim} has a bar that begins at {births.max():g}: give a larger number."
                )
        ended = np.stack([births, np.full(len(births), end)], 1)
        return np.concatenate([bars, ended[ended[:, 1] > ended[:, 0]]])

    def rescaled(self, normalised: bool) -> Diagrams:
        """Return the same diagrams in median distances, or in the cloud's units; a scale of 0 changes nothing.

        Examples
        --------
        >>> diagrams.rescaled(True).H1
        """
        if normalised == self.normalised:
            return self
        factor = 1.0 if self.scale == 0 else (1 / self.scale if normalised else self.scale)
        return replace(
            self,
            finite=tuple(factor * bars for bars in self.finite),
            essential=tuple(factor * births for births in self.essential),
            normalised=normalised,
        )

    def total_persistence(self, dim: int = 1, essential: Essential = "drop") -> float:
        """Sum of the bars' lengths.

        Examples
        --------
        >>> diagrams.total_persistence(1)
        """
        bars = self.bars(dim, essential)
        return float((bars[:, 1] - bars[:, 0]).sum())

    def entropy(self, dim: int = 1, essential: Essential = "drop") -> float:
        """Return the persistent entropy in nats: -sum p log p, p the bars' shares of the total length; 0 without bars.

        It is log B when all B bars are equally long and near 0 when one outlasts the others (Atienza, Gonzalez-Diaz and
        Soriano-Trigueros 2020).

        Examples
        --------
        >>> diagrams.entropy(1)
        """
        bars = self.bars(dim, essential)
        lengths = bars[:, 1] - bars[:, 0]
        if lengths.sum() <= 0:
            return 0.0
        share = lengths[lengths > 0] / lengths.sum()
        return max(0.0, float(-(share * np.log(share)).sum()))

    def summary(self) -> pd.DataFrame:
        """Return one row a dimension: bars, bars without end, longest, total, entropy.

        Examples
        --------
        >>> diagrams.summary()
        """
        import pandas as pd

        rows = []
        for dim, bars in enumerate(self.finite):
            lengths = bars[:, 1] - bars[:, 0]
            rows.append({
                "dim": dim,
                "bars": len(bars),
                "without_end": len(self.essential[dim]),
                "longest": float(lengths.max()) if len(bars) else 0.0,
                "total": self.total_persistence(dim),
                "entropy": self.entropy(dim),
            })  # fmt: skip
        return pd.DataFrame(rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the diagrams with settings and provenance as one safetensors file, atomically.

        Examples
        --------
        >>> diagrams.save("layer.safetensors")
        """
        tensors = {}
        for dim, (bars, births) in enumerate(zip(self.finite, self.essential, strict=True)):
            tensors[f"H{dim}"] = torch.from_numpy(bars.copy())
            tensors[f"essential{dim}"] = torch.from_numpy(births.copy())
        facts = {name: getattr(self, name) for name in _FACTS}
        save_tensors(path, tensors, {"format": FORMAT, "max_dim": self.max_dim, **facts})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Diagrams:
        """Read what `save` wrote.

        Raises
        ------
        CheckpointError
            When the file is missing, damaged or holds no diagrams.

        Examples
        --------
        >>> diagrams = Diagrams.load("layer.safetensors")
        """
        tensors, facts = load_tensors(path)
        if facts.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} holds no diagrams (format {facts.get('format')!r}, expected {FORMAT!r})."
            )
        try:
            dims = range(int(facts["max_dim"]) + 1)
            return cls(
                finite=tuple(tensors[f"H{dim}"].numpy() for dim in dims),
                essential=tuple(tensors[f"essential{dim}"].numpy() for dim in dims),
                **{name: facts[name] for name in _FACTS},
            )
        except (KeyError, TypeError, ValueError, LisError) as error:
            raise CheckpointError(
                f"{path} is a damaged set of diagrams ({error}); compute it again."
            ) from error


_FACTS = ("scale", "normalised", "points", "cloud_points", "copies", "settings", "provenance")
