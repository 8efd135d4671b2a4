"""What the ``http`` target says about itself."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adapters.description import Capabilities, Description, Limits, Strict


class HttpConfig(Strict):
    """Config of one variant: what the platform does with it is the platform's affair."""

    replicas: int | None = Field(None, ge=1, description="servers of this variant; unset: the platform decides")
    platform: dict[str, Any] = Field(
        default_factory=dict, description="passed on to the platform as it is; keys are the platform's own"
    )


class HttpSettings(Strict):
    """Settings of one platform."""

    look_seconds: float | None = Field(
        None, gt=0, description="time between two looks at a change under way; unset: the target's default of 5 s"
    )
    retry_after_cap_seconds: float = Field(
        60.0, gt=0, description="longest pause that the platform's Retry-After is granted"
    )
    auth_header: str = Field(
        "Authorization",
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="header that carries the secret that the target's credentials refer to",
    )
    auth_scheme: str = Field(
        "Bearer",
        pattern=r"^[A-Za-z0-9-]*$",
        description="word before the secret in that header; empty: the secret alone",
    )


DESCRIPTION = Description(
    scheme="http",
    title="In-house platform over HTTP, http://host:port/base or https",
    config_model=HttpConfig,
    settings_model=HttpSettings,
    capabilities=Capabilities(
        max_variants=10,
        can_split=True,
        can_pin=True,
        has_preconditions=True,
        can_adopt=True,
        resolves_models=False,
    ),
    limits=Limits(parallel=64),
)
