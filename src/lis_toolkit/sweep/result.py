"""A sweep's folder for reading: the table, the start pictures, the samples; while it is being filled, too."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CheckpointError, LisError
from ..files import sha256_tensors
from ..link import Link
from ..names import spelling_hint
from ..parts.legend import Legend
from ..stylegan import Generator
from .folder import MANIFEST, SAMPLES, START, SweepFolder, piece_range, piece_units
from .recipe import set_units
from .samples import Samples, as_list, belong
from .settings import shown
from .thumbnails import decode_pictures

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Sweep"]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """What happened when units were set: a table on disk, of which only what is asked for is read.

    Attributes
    ----------
    folder : Path
    manifest : dict
        Settings, models, units, values, columns, versions.
    finished : tuple of int
        Numbers of the files of rows that are there.

    Examples
    --------
    >>> sweep = Sweep.open("runs/fashion")
    >>> sweep.table(["unit", "sample", "class", "step", "sleeve.area"], units=[3, 17])
    """

    folder: Path
    manifest: dict[str, Any]
    finished: tuple[int, ...]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Sweep:
        """Open a folder of `sweep_units`, complete or not; only the ends of its files are read.

        Raises
        ------
        CheckpointError
            When there is no such folder, it is not one of a sweep, or its manifest is damaged.
        """
        place = SweepFolder(folder)
        manifest = place.read_manifest()
        if manifest is None:
            there = "is a folder without" if place.path.is_dir() else "has no"
            raise CheckpointError(f"{folder} {there} {MANIFEST}: sweeps are made by sweep_units.")
        there_now = tuple(i for i in range(manifest["files"]) if place.finished(manifest, i))
        return cls(place.path, manifest, there_now)

    def __repr__(self) -> str:
        return f"Sweep({self.summary().splitlines()[0]})"

    def __len__(self) -> int:
        """Return the number of rows that are there."""
        ranges = [piece_range(self.manifest, i) for i in self.finished]
        return sum(stop - start for start, stop in ranges) * self.steps

    @property
    def complete(self) -> bool:
        """Whether every row is there."""
        return len(self.finished) == self.manifest["files"]

    @property
    def units(self) -> tuple[int, ...]:
        """All units of the sweep, those whose rows are not there yet included."""
        return tuple(self.manifest["units"])

    @property
    def finished_units(self) -> tuple[int, ...]:
        """Units all of whose rows are there."""
        missing = set(range(self.manifest["files"])) - set(self.finished)
        lacking = {unit for i in missing for unit in piece_units(self.manifest, i)}
        return tuple(unit for unit in self.units if unit not in lacking)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the samples."""
        return tuple(self.manifest["samples"]["classes"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table."""
        return tuple(self.manifest["columns"])

    @property
    def steps(self) -> int:
        """Values that every unit is set to."""
        return int(self.manifest["steps"])

    @property
    def values(self) -> Tensor:
        """What the units are set to, float32 [U, S], in the order of `units`."""
        return torch.tensor(self.manifest["values"], dtype=torch.float32)

    @cached_property
    def legend(self) -> Legend | None:
        """Names and colours of the parts; None for a sweep without a segmenter."""
        told = self.manifest.get("legend")
        return None if told is None else Legend.from_json(told, str(self.folder / MANIFEST))

    @cached_property
    def samples(self) -> Samples:
        """Activations r [N, R] that the samples start from, their labels and classes."""
        return self._samples[0]

    @property
    def directions(self) -> Tensor | None:
        """Directions [R, R] along which the units were set; None: each was set alone.

        Raises
        ------
        CheckpointError
            When the file of the samples, which holds them, is missing, damaged or of another sweep.

        Examples
        --------
        >>> tune_unit(generator, classifier, link, sweep.samples.r[:4], unit=17, directions=sweep.directions)
        """
        return self._samples[1]

    @cached_property
    def _samples(self) -> tuple[Samples, Tensor | None]:
        samples, _, directions = Samples.load(self.folder / SAMPLES)
        if not belong(samples, directions, self.manifest):
            raise CheckpointError(f"{self.folder / SAMPLES} is not that of this sweep: it was altered.")
        return samples, directions

    @cached_property
    def start(self) -> pd.DataFrame:
        """What the start pictures show, a row for each sample: the link's pictures of the samples as they are."""
        if not SweepFolder(self.folder).start_finished(self.manifest):
            raise CheckpointError(
                f"{self.folder / START} is missing or damaged: call sweep_units again with the same arguments."
            )
        return self._frame(_read(self.folder / START, self.manifest["start_columns"]))

    @property
    def start_pictures(self) -> Tensor:
        """The start pictures [N, C, H, W], float32 in the unit range; those above 64 pixels are rounded to bytes."""
        pictures = torch.from_numpy(SweepFolder(self.folder).start_arrays()[0].copy())
        return pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures

    def summary(self) -> str:
        """Return a text of what the sweep has, and how much of it is there."""
        told = self.manifest
        state = "complete" if self.complete else f"{len(self):,} rows are there, sweep_units goes on"
        lines = [
            f"{len(told['units'])} units x {told['samples']['count']} samples x {told['steps']} steps = "
            f"{told['rows']:,} rows in {self.folder}: {state}"
        ]
        if told["skipped_units"]:
            lines.append(f"left out, constant over the link's pairs: units {shown(told['skipped_units'])}")
        asked = told["settings"]["samples"]
        short = {
            k: v
            for k, v in told["samples"]["counts"].items()
            if told["settings"].get("keep") != "all" and v[0] < asked
        }
        if short and told["settings"].get("classes"):
            texts = [f"{name!r} {kept} of {tried} tried" for name, (kept, tried) in short.items()]
            lines.append(
                f"classes that the classifier often refuses have fewer samples: kept {', '.join(texts)}"
            )
        return "\n".join(lines)

    def table(self, columns: Iterable[str] | str | None = None, units: Any = None) -> pd.DataFrame:
        """Read rows, in the order unit, sample, step.

        Parameters
        ----------
        columns
            Names, see `columns`; None: all but the pictures.
        units
            Units whose rows are wanted; None: all. Of an unfinished sweep, the rows that are there.

        Raises
        ------
        LisError
            For a column or unit that the sweep does not have, or when it has no rows yet.
        CheckpointError
            For a file that is damaged.

        Examples
        --------
        >>> sweep.table(["unit", "step", "picture.similarity"]).groupby(["unit", "step"]).mean()
        """
        names = [columns] if isinstance(columns, str) else None if columns is None else list(columns)
        for name in names or ():
            if name not in self.columns:
                raise LisError(f"the sweep has no column {name!r}.{spelling_hint(str(name), self.columns)}")
        if names is None:
            names = [name for name in self.columns if name != "picture"]
        return self._frame(self._rows(names, units))

    def pictures(self, unit: int | str, samples: Any = None) -> Tensor:
        """Return the pictures of one unit as they were kept, [n, S, C, H, W] in the unit range.

        Parameters
        ----------
        samples
            Which samples, in this order; None: all.

        Raises
        ------
        LisError
            When no pictures were kept (see `render`), or not all of the unit's rows are there yet.

        Examples
        --------
        >>> sweep.pictures(17, samples=[0, 5]).shape
        torch.Size([2, 3, 1, 32, 32])
        """
        if self.manifest["pictures"] is None:
            raise LisError(
                "this sweep kept no pictures (thumbnails=False): sweep.render(generator, link, unit) makes them."
            )
        index, wanted = self._unit(unit), self._sample_numbers(samples)
        table = self._rows(["sample", "step", "picture"], [index])
        if len(table) != self.manifest["samples"]["count"] * self.steps:
            raise LisError(f"not all rows of unit {index} are there yet: call sweep_units again to go on.")
        picked = table["picture"].take([n * self.steps + s for n in wanted for s in range(self.steps)])
        x = decode_pictures(picked.to_pylist(), self.manifest["image"])
        return x.unflatten(0, (len(wanted), self.steps))

    @torch.no_grad()
    def render(
        self,
        generator: Generator,
        link: Link,
        unit: int | str,
        samples: Any = None,
        precision: str | None = None,
    ) -> Tensor:
        """Render the pictures of one unit again, [n, S, C, H, W] in the unit range, on the generator's device.

        Parameters
        ----------
        samples
            Which samples, in this order; None: all.
        precision
            Of the feature maps; None: that of the sweep.

        Raises
        ------
        LisError
            For a generator or link that is not the sweep's, and a unit or sample that it does not have.

        Examples
        --------
        >>> sweep.render(generator, link, 17, samples=[0, 5]).shape
        torch.Size([2, 3, 1, 32, 32])
        """
        told = self.manifest["settings"]
        given = {"generator": generator.hash, "link": sha256_tensors(link.state_dict())}
        wrong = [name for name, digest in given.items() if digest != told[name]]
        if wrong:
            raise LisError(
                f"the {' and the '.join(wrong)} given are not those of this sweep: load those it was made with."
            )
        index, wanted = self._unit(unit), self._sample_numbers(samples)
        samples_there, directions = self._samples
        r = samples_there.r[wanted].repeat_interleave(self.steps, dim=0)  # [n S, R]
        values = self.values[self.units.index(index)].repeat(len(wanted))  # [n S]
        r = set_units(r, torch.full((len(r),), index), values, directions)
        x = generator.render(link.linear(r.to(link.device)), precision=precision or told["precision"])
        return x.unflatten(0, (len(wanted), self.steps))

    def _unit(self, unit: Any) -> int:
        text = unit.strip().lower().removeprefix("unit").strip() if isinstance(unit, str) else unit
        try:
            index = int(text) if isinstance(text, str) else int(text.__index__())
        except (ValueError, AttributeError):
            index = -1
        if index not in self.manifest["units"]:
            raise LisError(f"the sweep has no unit {unit!r}; it has {shown(self.manifest['units'])}.")
        return index

    def _sample_numbers(self, samples: Any) -> list[int]:
        count = self.manifest["samples"]["count"]
        if samples is None:
            return list(range(count))
        listed = as_list(samples)
        for n in listed:
            if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < count:
                raise LisError(f"the sweep has no sample {n!r}; it has 0 to {count - 1}.")
        return listed

    def _rows(self, names: list[str], units: Any) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = None if units is None else {self._unit(unit) for unit in as_list(units)}
        if not self.finished:
            raise LisError(f"{self.folder} has no rows yet: call sweep_units again with the same arguments.")
        place, tables, kinds = SweepFolder(self.folder), [], self.manifest["columns"]
        for index in self.finished:
            here = set(piece_units(self.manifest, index))
            if wanted is not None and not here & wanted:
                continue
            part = here if wanted is None else here & wanted
            read = list(dict.fromkeys([*names, "unit"])) if part != here else names
            table = _read(place.row_file(index), {name: kinds[name] for name in read})
            if part != here:
                table = table.filter(pc.is_in(table["unit"], pa.array(sorted(part), pa.int32()))).select(
                    names
                )
            tables.append(table)
        if not tables:
            path = place.row_file(self.finished[0])
            return _read(path, {name: kinds[name] for name in names}).slice(0, 0)
        return pa.concat_tables(tables)

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = table.to_pandas()
        if "class" in frame:
            frame["class"] = frame["class"].cat.set_categories(list(self.classes))
        return frame


def _read(path: Path, columns: dict[str, str]) -> pa.Table:
    """Read columns, given with their types, in this order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table, which would take a part of the path such as "unit=3" for a column.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=list(columns)).select(list(columns))
        # Parquet calls the items of a list elements.
        found = {field.name: str(field.type).replace("<element: ", "<item: ") for field in table.schema}
        if found != columns:  # pages have checksums, the list of columns has none
            other = next(name for name in columns if found[name] != columns[name])
            raise ValueError(f"its column {other!r} is {found[other]}, the manifest says {columns[other]}")
        if "class" in columns:
            table["class"].validate(full=True)
        return table
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise CheckpointError(
            f"{path} is missing or damaged: {error}. Delete it; sweep_units with the same arguments makes it again."
        ) from error
