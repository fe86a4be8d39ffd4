"""What a search for counterfactuals found: a table, the ways as tensors, and what it was made with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CheckpointError, LisError
from ..files import sha256_tensors
from ..link import Link
from ..names import whole_number
from ..stylegan import Generator
from .joining import join
from .paths import lines, row_indices, target_margins
from .result_files import as_kept, read_folder, write_folder
from .table import COLUMNS, as_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "START_IS_TARGET", "Counterfactuals"]

START_IS_TARGET = "start is target"  # the reason of rows whose cycled start is of the target class already


@dataclass(frozen=True, eq=False, repr=False)
class Counterfactuals:
    """What `find_counterfactuals` found: one row for each start and target, failures included; on the CPU.

    Attributes
    ----------
    table : DataFrame
        A row each: `start` (index into the given starts), `origin` (what the head says of r), `cycled` (what the
        classifier says of the cycled picture G(link(r))), `target`, `success`, `reason` (empty on success), `way`
        ("shortest", "towards the mean", "walk" or empty), `steps`, `renders` (of the search; a backward pass counts
        one more), `seconds` (share of the batch's time), `distance_r` (Euclidean), `distance_r_sd` (Mahalanobis, per
        root of the number of units), `distance_w` (Euclidean), `units_90` (units that carry 90 % of the squared shift
        in their standard deviations), `margin_start`, `margin_end` (logits, of the rendered picture: target against
        the best other class), `margin_head` (what the head says of r_end), `cycle_error` (|r(cycled) - r| / |r|),
        `monotone` (the rendered margin never falls along the path).
    r_start, r_end : Tensor [N, R]
        Activations at the two ends; of failures the best seen.
    amounts : Tensor [P]
        Places along the straight path from r_start to r_end, from 0 to 1.
    logits : Tensor [N, P, K]
        Of the pictures rendered at these places.
    images : Tensor [S, C, H, W] or None
        The photographs that were given as starts, unit range.
    classes : tuple of str
        Names of the K logits.
    settings, provenance : dict
        What was asked; hashes of the models, versions, date.

    Raises
    ------
    LisError
        For columns or shapes that do not belong together.

    Examples
    --------
    >>> result = find_counterfactuals(generator, classifier, link, pairs.r[:8], target="Coat")
    >>> result.table[["origin", "target", "success", "distance_w"]]
    """

    table: pd.DataFrame
    r_start: Tensor
    r_end: Tensor
    amounts: Tensor
    logits: Tensor
    images: Tensor | None
    classes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = as_table(self.table)
        classes = tuple(str(name) for name in self.classes)
        r_start = as_kept(self.r_start, "r_start", (len(table), None))
        amounts = as_kept(self.amounts, "amounts", (None,))
        ends = [float(amounts[0]), float(amounts[-1])] if len(amounts) > 1 else []
        if ends != [0.0, 1.0] or not bool((amounts.diff() > 0).all()):
            raise LisError(
                f"amounts are {amounts.tolist()[:12]}; numbers that rise from 0 to 1 were expected."
            )
        own: dict[str, Any] = {
            "table": table,
            "r_start": r_start,
            "r_end": as_kept(self.r_end, "r_end", tuple(r_start.shape)),
            "amounts": amounts,
            "logits": as_kept(self.logits, "logits", (len(table), len(amounts), len(classes))),
            "classes": classes,
        }
        if self.images is not None:
            own["images"] = as_kept(self.images, "images", (None, None, None, None))
            if len(table) and not 0 <= table["start"].min() <= table["start"].max() < len(own["images"]):
                raise LisError(f"the table has starts beyond the {len(own['images'])} images.")
        unknown = [name for name in table["target"].unique() if name not in classes]
        if unknown:
            raise LisError(f"the table has the targets {unknown[:4]}, which are none of the classes.")
        for name, value in own.items():
            object.__setattr__(self, name, value)  # the class is frozen for its users

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Counterfactuals({str(self).splitlines()[0]})"

    def __str__(self) -> str:
        table = self.table
        found, idle = int(table["success"].sum()), int((table["reason"] == START_IS_TARGET).sum())
        tried = len(table) - idle
        method = self.settings.get("method")
        share = f" ({found / tried:.1%})" if tried else ""
        told = "" if method is None else f", method {method}"
        lines = [f"{found} counterfactuals of {tried} tried{share}, {table['start'].nunique()} starts{told}"]
        if idle:
            lines.append(f"  left out: {idle} whose cycled picture is of the target class already")
        good = table[table["success"]]
        if found:
            middle = good[["margin_end", "distance_w", "distance_r", "units_90", "renders"]].median()
            lines.append(
                f"  median of these: margin {middle.margin_end:.2f} logits, distance {middle.distance_w:.2f} in w, "
                f"{middle.distance_r:.2f} in r, 90 % of it by {middle.units_90:.0f} units, {middle.renders:.0f} renders"
            )
            lines.append(f"  rendered margin never falls along the path: {good['monotone'].mean():.0%}")
        reasons = table.loc[~table["success"] & (table["reason"] != START_IS_TARGET), "reason"]
        reasons = reasons.str.split(";").str[0].value_counts()  # what follows differs from row to row
        lines += [f"  not found, {reason}: {count}" for reason, count in reasons.iloc[:4].items()]
        if len(reasons) > 4:
            lines.append(f"  not found, {len(reasons) - 4} other reasons: {reasons.iloc[4:].sum()}")
        return "\n".join(lines)

    @property
    def targets(self) -> Tensor:
        """Index of each row's target among the classes, int64 [N]."""
        places = {name: index for index, name in enumerate(self.classes)}
        return torch.tensor([places[name] for name in self.table["target"]], dtype=torch.int64)

    @property
    def margins(self) -> Tensor:
        """By how many logits the target exceeds the best other class along the path, as rendered, [N, P].

        Examples
        --------
        >>> result.margins[:, -1]  # at the ends
        """
        return target_margins(self.logits, self.targets)

    @property
    def successes(self) -> Counterfactuals:
        """The rows that reached their target."""
        return self.subset(self.table["success"].to_numpy())

    def subset(self, rows: Any) -> Counterfactuals:
        """Return some rows, in the order given; `start` still counts the given starts, whose images all stay.

        Parameters
        ----------
        rows : sequence of int, a slice, or a truth value for each row

        Raises
        ------
        LisError
            For a row that is not there, or as many truth values as there are no rows.

        Examples
        --------
        >>> shirts = result.subset(result.table.target == "Shirt")
        """
        places = row_indices(rows, len(self))
        index = torch.tensor(places, dtype=torch.int64)
        return replace(
            self,
            table=self.table.iloc[places],
            r_start=self.r_start[index],
            r_end=self.r_end[index],
            logits=self.logits[index],
        )

    def paths(self) -> Tensor:
        """Activations at every place of the path, [N, P, R]: on the straight line, so none is negative."""
        return lines(self.r_start, self.r_end, self.amounts)

    @torch.no_grad()
    def render(
        self,
        generator: Generator,
        link: Link,
        rows: Any = None,
        amounts: Sequence[float] | Tensor | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Render paths: pictures [n, P, C, H, W] in the unit range, on the CPU.

        Parameters
        ----------
        rows : as in `subset`; None: all.
        amounts : places, 0 the cycled start and 1 the end; beyond 1 the line goes on (units stay >= 0 where both ends
            are); None: those of the result.

        Raises
        ------
        LisError
            For models other than those the result was made with, rows that are not there, amounts that are not finite.

        Examples
        --------
        >>> start, end = result.render(generator, link, rows=[0], amounts=[0, 1])[0]
        """
        check_own_models(self, generator=generator, link=link)
        places = row_indices(slice(None) if rows is None else rows, len(self))
        places_along = self.amounts if amounts is None else _amounts(amounts)
        r = lines(self.r_start[places], self.r_end[places], places_along).flatten(0, 1)  # [n P, R]
        shape = (len(places), len(places_along), generator.img_channels) + 2 * (generator.img_resolution,)
        pictures = [
            generator.render(link.linear(part.to(link.device)).to(generator.device)).float().cpu()
            for part in r.split(whole_number(batch_size, "batch_size", 1))
            if len(part)
        ]
        return torch.cat(pictures).reshape(shape) if pictures else torch.zeros(shape)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write counterfactuals.parquet, tensors.safetensors and manifest.json into a folder, all or none.

        A result that is there already is replaced; other files beside it stay.

        Raises
        ------
        LisError
            When the folder holds something else and no result, or can't be written.

        Examples
        --------
        >>> result.save("runs/coat-to-shirt")
        """
        write_folder(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Counterfactuals:
        """Read what `save` wrote, with all sums checked; nothing is executed.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged, altered, of another format or of another result.

        Examples
        --------
        >>> result = Counterfactuals.load("runs/coat-to-shirt")
        """
        fields = read_folder(folder)
        try:
            return cls(**fields)
        except LisError as error:
            raise CheckpointError(f"{folder} is a damaged result: {error}") from error

    @staticmethod
    def concat(results: Iterable[Counterfactuals], same_starts: bool = False) -> Counterfactuals:
        """Put the rows of several results below each other.

        Parameters
        ----------
        same_starts : False: the starts of each result are others and get numbers after those before. True: all were
            given the same starts (other targets, other methods), whose numbers stay.

        Raises
        ------
        LisError
            For results of other classes, widths, amounts or models; starts that are said to be the same and are not.

        Examples
        --------
        >>> both = Counterfactuals.concat([to_coats, to_shirts], same_starts=True)
        """
        return join(list(results), same_starts)


def check_own_models(
    result: Counterfactuals, generator: Any = None, classifier: Any = None, link: Link | None = None
) -> None:
    """Check that models are those of a result.

    Raises
    ------
    LisError
        For another link, or models that the link was not fitted for.

    Examples
    --------
    >>> check_own_models(result, generator, classifier, link)
    """
    if link is not None:
        if link.num_units != result.r_start.shape[1]:
            raise LisError(
                f"the link has {link.num_units} units, these counterfactuals {result.r_start.shape[1]}: "
                "give the link they were found with."
            )
        link.check(generator, classifier)
        if result.provenance.get("link_hash") not in (None, sha256_tensors({"A": link.A, "b": link.b})):
            raise LisError("the link given is not the one these counterfactuals were found with.")
    for kind, model in (("generator", generator), ("classifier", classifier)):
        expected, given = result.provenance.get(f"{kind}_hash"), getattr(model, "hash", None)
        if model is not None and expected and given and expected != given:
            raise LisError(f"the {kind} given is not the one these counterfactuals were found with.")


def _amounts(amounts: Sequence[float] | Tensor) -> Tensor:
    try:
        places = torch.as_tensor(amounts, dtype=torch.float32).cpu()
    except (TypeError, ValueError, RuntimeError):
        places = torch.empty(0)
    if places.ndim != 1 or len(places) == 0 or not torch.isfinite(places).all():
        raise LisError(f"amounts are {amounts!r}; a list of finite numbers was expected, at least one.")
    return places
