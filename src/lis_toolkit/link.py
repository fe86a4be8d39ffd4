"""The link: one linear map from a classifier's penultimate activations r to a generator's latents w."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .class_statistics import ClassStatistics
from .errors import CheckpointError, LisError
from .files import load_tensors, provenance, save_tensors
from .link_fit import Options, fit

if TYPE_CHECKING:
    from .link_report import LinkReport
    from .pairs import Pairs

Method = Literal["ridge", "ols", "elastic_net", "reduced_rank"]
FORMAT = "lis_toolkit link 1"
_TENSORS = ("A", "b", "unit_mean", "unit_std", "unit_min", "unit_max", "w_mean", "r2_dims", "fitted_rows")
_FACTS = (
    "method", "penalty", "rank", "rows", "in_sample_r2", "constant_units", "penalty_curve", "notes", "classes",
    "psi", "classifier_hash", "generator_hash", "classifier_name", "generator_name", "provenance",
)  # fmt: skip


class Link(nn.Module):
    """The linear map w = A r + b from penultimate activations to latents; made by `fit_link` or `Link.load`.

    Attributes
    ----------
    A, b : Tensor
        [W, R] and [W], float32. The column A[:, i] is the direction in w of one unit of unit i.
    unit_mean, unit_std, unit_min, unit_max : Tensor
        [R], of the activations over the fitted pairs.
    constant_units : tuple of int
        Units that never varied: their columns of A are zero, so they can't be tuned.
    method, penalty, rank, penalty_curve
        How it was fitted; the curve has lists "penalty" (or "rank"), "error", "standard_error", "r2", and "kind".
    in_sample_r2, r2_dims
        Share of the variance of w explained on the fitted pairs: in all, and [W] (NaN where w was constant).
    notes : tuple of str
        What the user should know of this fit, in sentences; usually empty.
    statistics : ClassStatistics or None
        Where the classes lie among r and w, of a link fitted to Pairs: what counterfactuals need.

    Notes
    -----
    Linking in Style (Wehrheim et al. 2024, arXiv 2409.16865).

    Examples
    --------
    >>> w = link(classifier.features(x))
    >>> image = generator.render(w)
    """

    A: Tensor
    b: Tensor
    unit_mean: Tensor
    unit_std: Tensor
    unit_min: Tensor
    unit_max: Tensor
    w_mean: Tensor
    r2_dims: Tensor
    fitted_rows: Tensor

    def __init__(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        super().__init__()
        for name in _TENSORS:
            self.register_buffer(name, tensors[name])
        self.method: str = facts["method"]
        self.penalty: float | None = facts.get("penalty")
        self.rank: int | None = facts.get("rank")
        self.rows: int = facts["rows"]
        self.in_sample_r2: float = facts["in_sample_r2"]
        self.constant_units: tuple[int, ...] = tuple(facts["constant_units"])
        self.penalty_curve: dict[str, Any] | None = facts.get("penalty_curve")
        self.notes: tuple[str, ...] = tuple(facts.get("notes", ()))
        self.classes: tuple[str, ...] | None = tuple(facts["classes"]) if facts.get("classes") else None
        self.psi: float | None = facts.get("psi")
        self.classifier_hash: str | None = facts.get("classifier_hash")
        self.generator_hash: str | None = facts.get("generator_hash")
        self.classifier_name: str | None = facts.get("classifier_name")
        self.generator_name: str | None = facts.get("generator_name")
        self.provenance: dict[str, Any] = facts.get("provenance", {})
        self.statistics = ClassStatistics.from_tensors(tensors, self.classes or ())

    @property
    def num_units(self) -> int:
        """Width R of r."""
        return self.A.shape[1]

    @property
    def w_dim(self) -> int:
        """Width W of w."""
        return self.A.shape[0]

    @property
    def device(self) -> torch.device:
        """Where A is."""
        return self.A.device

    def forward(self, r: Tensor) -> Tensor:
        """Latents w [..., W] of activations r [..., R], differentiable.

        Raises
        ------
        LisError
            For a wrong width, a dtype that is not floating, NaN or infinite values.
        """
        if not isinstance(r, Tensor) or not r.is_floating_point() or r.ndim == 0:
            given = f"{r.dtype}, shape {list(r.shape)}" if isinstance(r, Tensor) else type(r).__name__
            raise LisError(f"r is {given}, a floating tensor [N, {self.num_units}] was expected.")
        if r.shape[-1] != self.num_units:
            raise LisError(
                f"r has {r.shape[-1]} columns, the link was fitted on {self.num_units}: "
                f"use activations of {self._known('classifier')}, or fit a link for this one with fit_link."
            )
        if not bool(torch.isfinite(r).all()):
            raise LisError("r has NaN or infinite values, finite activations were expected.")
        return self.linear(r)

    def linear(self, r: Tensor) -> Tensor:
        """Compute A r + b without any check: for use inside torch.func transforms."""
        return nn.functional.linear(r.to(self.A.dtype), self.A, self.b)

    def direction(self, unit: int | str) -> Tensor:
        """Direction [W] in w in which raising this unit by one moves: a column of A."""
        return self.A[:, self.unit_index(unit)]

    def unit_index(self, unit: int | str) -> int:
        """Index of a unit given as 17, "17" or "unit 17".

        Raises
        ------
        LisError
            When it is not one of the units 0 .. R - 1.
        """
        index: int | None = None
        if isinstance(unit, str):
            text = unit.strip().lower().removeprefix("unit").strip()
            index = int(text) if text.isascii() and text.isdigit() else None
        elif not isinstance(unit, (bool, float)):
            try:
                index = int(unit.__index__())
            except (AttributeError, TypeError):
                index = None
        if index is None or not 0 <= index < self.num_units:
            raise LisError(
                f"there is no unit {unit!r}: this link has the units 0 to {self.num_units - 1}, "
                'given as 17, "17" or "unit 17".'
            )
        return index

    def varying_unit(self, unit: int | str) -> int:
        """Index of a unit as `unit_index`, and a LisError when it was constant over the fitted pairs."""
        index = self.unit_index(unit)
        if index in self.constant_units:
            raise LisError(
                f"unit {index} was constant ({float(self.unit_min[index]):g}) over the {self.rows} fitted pairs, "
                "so the link has no direction for it: choose a unit that is not in link.constant_units."
            )
        return index

    def _known(self, kind: str) -> str:
        name, digest = getattr(self, f"{kind}_name"), getattr(self, f"{kind}_hash")
        return _called(kind, name, digest)

    def check(self, generator: Any = None, classifier: Any = None) -> None:
        """Raise LisError when the generator or the classifier is not the one the link was fitted for."""
        wrong = []
        for kind, model in (("generator", generator), ("classifier", classifier)):
            expected, given = getattr(self, f"{kind}_hash"), getattr(model, "hash", None)
            if model is not None and expected and given != expected:
                wrong.append(
                    f"it was fitted for {self._known(kind)}, but "
                    f"{_called(kind, getattr(model, 'name', None), given)} was given"
                )
        if wrong:
            raise LisError(
                f"the link does not belong to these models: {'; '.join(wrong)}. "
                "Load the models it was fitted for, or fit a link for these with collect_pairs and fit_link."
            )

    def report(self, generator: Any, classifier: Any, pairs: Pairs, photographs: Any = None,
               **options: Any) -> LinkReport:  # fmt: skip
        """Measure the link on held-out pairs and photographs: see `report_link`."""
        from .link_report import report_link

        return report_link(self, generator, classifier, pairs, photographs, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the link with its provenance as a safetensors file, atomically."""
        facts = {name: getattr(self, name) for name in _FACTS}
        tensors = {name: getattr(self, name) for name in _TENSORS}
        if self.statistics is not None:
            tensors |= self.statistics.tensors()
        save_tensors(path, tensors, {"format": FORMAT, **facts})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Link:
        """Read a link that `save` wrote; CheckpointError when the file holds anything else."""
        tensors, facts = load_tensors(path)
        missing = [name for name in _TENSORS if name not in tensors]
        if facts.get("format") != FORMAT or missing:
            raise CheckpointError(
                f"{path} is not a link: its format is {facts.get('format')!r} and it lacks {missing or 'nothing'}; "
                f"{FORMAT!r} was expected. Give a file written by Link.save."
            )
        try:
            return cls(tensors, facts)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is a damaged link ({error!r}): save it again.") from error

    def extra_repr(self) -> str:
        """Say widths, method and share explained, for print(link)."""
        return (
            f"{self.num_units} units -> {self.w_dim} latent dimensions, {self.method}, penalty={self.penalty}, "
            f"rows={self.rows}, in-sample R2={self.in_sample_r2:.3f}"
        )


def _called(kind: str, name: str | None, digest: str | None) -> str:
    return f"{kind} {name or 'without a name'} ({digest[:8] if digest else 'no hash'})"


def fit_link(
    pairs: Pairs | tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]],
    method: Method = "ridge",
    *,
    penalty: float | None = None,
    penalties: Sequence[float] | None = None,
    rank: int | None = None,
    l1_ratio: float = 0.5,
    standardise: bool = True,
    precision: Literal["auto", "float64", "float32"] = "auto",
    choose_rows: int | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> Link:
    """Fit the linear link r -> w to pairs, from streamed second moments in float64.

    Parameters
    ----------
    pairs : Pairs, or (r, w), or an iterable of batches (r, w)
        r [N, R] activations and w [N, W] latents, finite and floating. Batches are seen once and not kept.
    method : {"ridge", "ols", "elastic_net", "reduced_rank"}
        All minimise |w - A r - b|^2 / N, plus for "ridge" penalty |A'|^2; for "elastic_net" half of it plus
        penalty (l1_ratio |A'|_1 + (1 - l1_ratio) |A'|^2 / 2), as scikit-learn's ElasticNet; "reduced_rank" under
        rank(A) <= rank, with ridge's penalty if one is given. "ols" takes the solution of least |A'| if the units
        are linearly dependent.
    penalty : float, optional
        None: ridge takes the best of `penalties` by exact leave-one-out in closed form, elastic net by the error on
        `held_out` of the rows (then refitted on all), reduced rank takes 0.
    penalties : sequence of float, optional
        Penalties to choose from: 20 from 1e-6 to 1e3 for ridge; 10 down from the least that zeroes A for elastic net.
    rank : int, optional
        None: the rank of least error on `held_out` of the rows.
    standardise : bool
        A' is A times the units' standard deviations, so that a penalty treats all units alike; False: A' is A.
    precision : {"auto", "float64", "float32"}
        Products for the moments. "auto" takes float32 for large "ols" and "ridge" fits of tensors in memory and
        repeats them in float64 if the units' correlation matrix turns out worse conditioned than 1000.
    choose_rows : int, optional
        Rows, drawn with `seed`, over which the leave-one-out error is averaged (each residual is that of a fit on
        all other rows). None: all, or as many as take a second or so.
    held_out : float
        Share of the rows on which elastic net and reduced rank choose.
    seed : int
        Of that choice of rows.

    Returns
    -------
    Link

    Raises
    ------
    LisError
        For widths that don't match, NaN or infinite values, fewer than 2 rows, and options that don't fit.

    Notes
    -----
    Linking in Style (Wehrheim et al. 2024), "Link"; the choice of penalty is ours.

    Examples
    --------
    >>> train, held_out = pairs.split(0.2, seed=0)
    >>> link = fit_link(train, method="ridge")
    """
    options = Options(
        method, penalty, None if penalties is None else list(penalties), rank, l1_ratio, standardise, precision,
        choose_rows, held_out, seed,
    )  # fmt: skip
    tensors, facts = fit(pairs, options)
    origin = getattr(pairs, "provenance", None) or {}
    if origin.get("precision", "float32") != "float32":
        facts["notes"] += [f"the pictures of the fitted pairs were rendered in {origin['precision']}."]
    facts |= {
        "method": method,
        "classes": list(getattr(pairs, "classes", None) or []),
        "psi": getattr(pairs, "psi", None),
        "classifier_hash": getattr(pairs, "classifier_hash", None),
        "generator_hash": getattr(pairs, "generator_hash", None),
        "classifier_name": origin.get("classifier"),
        "generator_name": origin.get("generator"),
        "provenance": provenance(
            fit={"l1_ratio": l1_ratio if method == "elastic_net" else None, "standardise": standardise,
                 "precision": facts["precision"], "seed": seed},
            pairs={"seed": getattr(pairs, "seed", None), **origin},
        ),
    }  # fmt: skip
    return Link(tensors, facts)
