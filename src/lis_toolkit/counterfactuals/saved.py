"""Settings of an explorer of counterfactuals as JSON text, checked against the models when they are opened again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import LisError
from ..explore.checks import finite_value
from ..explore.saved import MODELS, check_same_models, parsed, read_activations
from ..files import provenance, sha256_tensors
from ..names import class_index
from .setting import CounterfactualSetting

if TYPE_CHECKING:
    from .session import CounterfactualSession

__all__ = ["FORMAT", "read_setting", "setting_text"]

FORMAT = "lis_toolkit counterfactual setting 1"
ASKED = ("which", "seed", "psi", "r", "r_name", "photograph", "target", "method", "metric", "place")
KEYS = ("format", *ASKED, "models", "provenance")


def setting_text(setting: CounterfactualSetting, session: CounterfactualSession) -> str:
    """Return a setting as JSON text, with the names and hashes of what it was made with.

    Raises
    ------
    LisError : a setting that the session can't show.

    Examples
    --------
    >>> Path("setting.json").write_text(setting_text(setting, session))
    """
    _check(setting, session)
    names = {"generator": session.generator.name, "classifier": session.classifier.name}
    used = [*MODELS, *(["pairs"] if _counts_pairs(setting, session) else [])]
    models = {kind: {"name": names.get(kind, kind), "sha256": session.hashes[kind]} for kind in used}
    if setting.photograph is not None:
        models["photograph"] = {
            "name": f"photograph {setting.photograph}",
            "sha256": _photograph_hash(setting.photograph, session),
        }
    asked = {name: getattr(setting, name) for name in ASKED}
    asked["r"] = None if setting.r is None else list(setting.r)
    described = {"format": FORMAT, **asked, "models": models, "provenance": provenance()}
    return json.dumps(described, indent=1, allow_nan=False)


def read_setting(text: str, session: CounterfactualSession) -> CounterfactualSetting:
    """Return the setting that `setting_text` described.

    Raises
    ------
    LisError : text that is damaged or no setting, unknown keys, other models or photographs, unknown classes, NaN.

    Examples
    --------
    >>> read_setting(Path("setting.json").read_text(), session)
    """
    told = parsed(text, FORMAT, KEYS)
    models = told["models"]
    own = models.get("photograph") if isinstance(models, dict) else None
    rest = {k: v for k, v in models.items() if k != "photograph"} if isinstance(models, dict) else models
    check_same_models(rest, session, (*MODELS, "pairs"))
    asked: dict[str, Any] = {name: told[name] for name in ASKED}
    asked["r"] = read_activations(told["r"])
    setting = CounterfactualSetting(**asked)
    _check(setting, session)
    if _counts_pairs(setting, session) and "pairs" not in rest:
        raise LisError("the setting was saved without pairs, but here it would use them: open it without.")
    if setting.photograph is not None:
        saved = own.get("sha256") if isinstance(own, dict) else None
        if saved != _photograph_hash(setting.photograph, session):
            raise LisError(
                f"photograph {setting.photograph} is another one than when the setting was saved: give the photographs "
                "that it was saved with, in their order."
            )
    return setting


def _counts_pairs(setting: CounterfactualSetting, session: CounterfactualSession) -> bool:
    """Whether the seed counts pairs."""
    return session.pairs is not None and setting.r is None and setting.photograph is None


def _photograph_hash(number: int, session: CounterfactualSession) -> str:
    images = session.photographs.images  # type: ignore[union-attr]
    return sha256_tensors({"image": images[number]})


def _check(setting: CounterfactualSetting, session: CounterfactualSession) -> None:
    """Raise a LisError for a setting that the session can't show."""
    session.check_target(setting.target)
    if setting.photograph is not None:
        session.check_photograph(setting.photograph)
        return
    if setting.r is None:
        class_index(setting.which, session.classes, "the session")
    elif len(setting.r) != session.link.num_units:
        raise LisError(
            f"r of the setting has {len(setting.r)} activations, the link was fitted on {session.link.num_units}."
        )
    for value in setting.r or ():
        finite_value(value, "an activation of r")
