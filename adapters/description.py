"""What a kind of target says about itself without importing its SDK."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base of all config and settings models: unknown keys are refused, never ignored; so is what JSON cannot carry."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Capabilities:
    """What a target can do, as values; the API refuses at submission what it cannot.

    ``resolves_models`` False: model URIs are passed on as they are, so planning asks nobody and takes no time.
    ``model_schemes`` are the target's own, beside those that the operator takes everywhere; where it ``names_models``,
    a model may also be a name of its own, such as ``zai/GLM-5.3``, which is no path of this machine.
    """

    max_variants: int = 1
    variants_at_create: bool = True
    can_split: bool = False
    can_pin: bool = False
    has_logs: bool = False
    has_preconditions: bool = False
    can_adopt: bool = False
    resolves_models: bool = True
    model_schemes: tuple[str, ...] = ()
    names_models: bool = False
    name_pattern: str = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    max_body_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """``writes`` per ``per_seconds`` (None: no limit known) and calls at once that the target is given."""

    writes: int | None = None
    per_seconds: float = 1.0
    parallel: int = 16


@dataclass(frozen=True)
class Description:
    """One kind of target. Help and checks both come from ``config_model``, so that they cannot differ.

    ``deadline_seconds`` counts from an operation's start; ``look_seconds`` is the time between two looks;
    ``extra`` is what ``pip install`` needs in brackets for a worker that serves it.
    """

    scheme: str
    title: str
    config_model: type[Strict]
    settings_model: type[Strict]
    capabilities: Capabilities
    extra: str | None = None
    limits: Limits = field(default_factory=Limits)
    deadline_seconds: float = 3600.0
    look_seconds: float = 5.0

    def help(self) -> str:
        """The text of ``target help``: every key with its type, default and meaning, from the models that validate."""
        return "\n".join(
            [
                f"{self.title} ({self.scheme})",
                "",
                "Config of a variant:",
                *_keys(self.config_model),
                "",
                "Settings of the target:",
                *_keys(self.settings_model),
            ]
        )


def _keys(model: type[BaseModel]) -> list[str]:
    lines = []
    for name, info in model.model_fields.items():
        shown = getattr(info.annotation, "__name__", None) or str(info.annotation)
        if not isinstance(info.annotation, type):
            shown = str(info.annotation)
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        lines.append(f"  {name}: {shown} ({default}). {info.description or ''}".rstrip())
    return lines or ["  (none)"]
