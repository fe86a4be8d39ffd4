"""Settings as JSON text: what an explorer saves and opens again, checked against the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..files import provenance
from ..names import class_index, finite_number, spelling_hint, whole_number
from .checks import checked_values, finite_value
from .setting import UnitSetting

if TYPE_CHECKING:
    from .session import UnitSession

__all__ = ["FORMAT", "check_same_models", "parsed", "read_activations", "read_setting", "setting_text"]

FORMAT = "lis_toolkit unit setting 1"
LARGEST = 10**7  # letters: more than activations of a start can take
KEYS = (
    "format",
    "which",
    "seed",
    "psi",
    "r",
    "r_name",
    "values",
    "unit",
    "companions",
    "models",
    "provenance",
)
MODELS = ("generator", "classifier", "link")


def setting_text(setting: UnitSetting, session: UnitSession) -> str:
    """Return a setting as JSON text, with the names and hashes of what it was made with.

    Raises
    ------
    LisError : a setting that the session can't show.

    Examples
    --------
    >>> Path("setting.json").write_text(setting_text(setting, session))
    """
    _check(setting, session)
    used = list(MODELS)
    if setting.r is None and session.pairs is not None:
        used.append("pairs")  # a seed counts them
    if setting.companions:
        used.append("companions")
    names = {"generator": session.generator.name, "classifier": session.classifier.name}
    described = {
        "format": FORMAT,
        "which": setting.which,
        "seed": setting.seed,
        "psi": setting.psi,
        "r": None if setting.r is None else list(setting.r),
        "r_name": setting.r_name,
        "values": [[unit, value] for unit, value in setting.values.items()],
        "unit": setting.unit,
        "companions": setting.companions,
        "models": {kind: {"name": names.get(kind, kind), "sha256": session.hashes[kind]} for kind in used},
        "provenance": provenance(),
    }
    return json.dumps(described, indent=1, allow_nan=False)


def read_setting(text: str, session: UnitSession) -> UnitSetting:
    """Return the setting that `setting_text` described.

    Raises
    ------
    LisError : text that is damaged or no setting, unknown keys, other models, unknown classes and units, NaN.

    Examples
    --------
    >>> read_setting(Path("setting.json").read_text(), session)
    """
    told = parsed(text, FORMAT, KEYS)
    check_same_models(told["models"], session)
    values = _pairs(told["values"])
    setting = UnitSetting(
        which=told["which"],
        seed=told["seed"],
        psi=told["psi"],
        r=read_activations(told["r"]),
        r_name=told["r_name"],
        values=values,
        unit=told["unit"],
        companions=told["companions"],
    )
    for kind, used in (
        ("pairs", setting.r is None and session.pairs is not None),
        ("companions", setting.companions),
    ):
        if used and kind not in told["models"]:
            raise LisError(
                f"the setting was saved without {kind}, but here it would use them: open it without."
            )
    _check(setting, session)
    return setting


def parsed(text: Any, wanted: str, keys: Sequence[str]) -> dict[str, Any]:
    """Return what a setting's JSON text holds: of the format `wanted`, with these keys and no others.

    Raises
    ------
    LisError : text that is no JSON, too long, of another format, with keys missing, twice or unknown, NaN.

    Examples
    --------
    >>> parsed(text, FORMAT, KEYS)["which"]
    'Coat'
    """
    if not isinstance(text, str):
        raise LisError(f"the setting is a {type(text).__name__}; JSON text as of to_json was expected.")
    if len(text) > LARGEST:
        raise LisError(f"the setting has {len(text):,} letters; no setting is so long.")
    try:
        told = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except LisError:
        raise
    except (ValueError, RecursionError) as error:
        raise LisError(f"the setting is not JSON: {error}. It is damaged; save it again.") from error
    if not isinstance(told, dict):
        raise LisError(f"the setting is a {type(told).__name__}; a JSON object as of to_json was expected.")
    if told.get("format") != wanted:
        raise LisError(
            f"this is no setting of an explorer: its format is {told.get('format')!r}, {wanted!r} was expected."
        )
    missing = [key for key in keys if key not in told and key != "provenance"]
    extra = [key for key in told if key not in keys]
    if missing:
        raise LisError(f"the setting lacks {', '.join(missing)}: it is damaged; save it again.")
    if extra:
        hint = spelling_hint(extra[0], keys)
        raise LisError(f"the setting has {', '.join(map(repr, extra[:5]))}, which no setting has.{hint}")
    return told


def read_activations(r: Any) -> tuple[float, ...] | None:
    """Return activations as a setting's JSON has them: a list of finite numbers, or null.

    Raises
    ------
    LisError : anything else.

    Examples
    --------
    >>> read_activations([0.0, 1.5])
    (0.0, 1.5)
    """
    if r is not None and not isinstance(r, list):
        raise LisError(f"r of the setting is a {type(r).__name__}; a list of numbers or null was expected.")
    return None if r is None else tuple(finite_number(value, "an activation of r") for value in r)


def _refuse(constant: str) -> Any:
    raise LisError(f"the setting has the value {constant}; finite numbers were expected.")


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(items)
    if len(told) < len(items):
        names = [name for name, _ in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise LisError(f"the setting has {twice!r} twice: it is damaged; save it again.")
    return told


def _pairs(values: Any) -> dict[int, float]:
    if not isinstance(values, list) or not all(isinstance(row, list) and len(row) == 2 for row in values):
        raise LisError("values of the setting are damaged; a list of [unit, value] was expected.")
    chosen: dict[int, float] = {}
    for unit, value in values:
        index = whole_number(unit, "a unit of the setting", 0)
        if index in chosen:
            raise LisError(f"the setting gives unit {index} twice; once was expected.")
        chosen[index] = finite_number(value, f"the value of unit {index}")
    return chosen


def check_same_models(
    models: Any, session: UnitSession, known: Sequence[str] = (*MODELS, "pairs", "companions")
) -> None:
    """Raise a LisError that names every model that is another than when the setting was saved.

    Raises
    ------
    LisError : another model; models that are not all told, or of a kind that is not `known`.

    Examples
    --------
    >>> check_same_models(told["models"], session)
    """
    if (
        not isinstance(models, dict)
        or not set(MODELS) <= set(models) <= set(known)
        or not all(
            isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("sha256"), str)
            for one in models.values()
        )
    ):
        raise LisError(
            "the setting does not say which models it was made with: it is damaged; save it again."
        )
    here = {"generator": session.generator.name, "classifier": session.classifier.name}
    wrong = []
    for kind, one in models.items():
        given = session.hashes.get(kind)
        if given is None:
            wrong.append(f"it was saved with {kind} ({one['sha256'][:8]}), of which this session has none")
        elif given != one["sha256"]:
            name, own = (f" {text!r}" if kind in here else "" for text in (one["name"], here.get(kind)))
            wrong.append(
                f"its {kind}{name} is {one['sha256'][:8]}, but{own or ' the one'} here is {given[:8]}"
            )
    if wrong:
        raise LisError(
            f"the setting belongs to other models: {'; '.join(wrong)}. Open it with the ones that it was saved with."
        )


def _check(setting: UnitSetting, session: UnitSession) -> None:
    """Raise a LisError for a setting that the session can't show."""
    if setting.r is None:
        class_index(setting.which, session.classes, "the session")
    elif len(setting.r) != session.link.num_units:
        raise LisError(
            f"r of the setting has {len(setting.r)} activations, the link was fitted on {session.link.num_units}."
        )
    for value in setting.r or ():
        finite_value(value, "an activation of r")
    checked_values(session.link, setting.values)
    if setting.unit is not None:
        session.link.varying_unit(setting.unit)
    if setting.companions and session.companions is None:
        raise LisError(
            "the setting takes companions along, but this session has none: make it with companions=..."
        )
