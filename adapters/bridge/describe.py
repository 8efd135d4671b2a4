"""What a bridged target takes and can do. The plugin's own help is asked of a process of its own."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from adapters.bridge.installed import FORCED, plugins
from adapters.description import Capabilities, Description, Limits, Strict

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
States = dict[str, list[str]]
Family = Literal["auto", "deployments", "endpoints"]


def _names(variables: dict[str, str]) -> dict[str, str]:
    odd = [name for name in variables if not re.match(NAME, name)]
    if odd:
        raise ValueError(f"{odd[0]!r} is no name of an environment variable")
    return variables


class BridgeConfig(Strict):
    """Config of one variant: any keys with JSON values. The plugin checks them, when it is called."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


class BridgeSettings(Strict):
    """Settings of a target that a plugin of MLflow serves."""

    environment: Annotated[dict[str, str], AfterValidator(_names)] = Field(
        {}, description="variables of the plugin's processes, over those of the worker; no secrets"
    )
    credential_variable: str | None = Field(
        None,
        pattern=NAME,
        description="variable in which the plugin expects the secret that the target's credentials refer to",
    )
    family: Family = Field(
        "auto",
        description="whether a deployment is the plugin's deployment or its endpoint; auto: endpoints where the plugin "
        "has no deployments",
    )
    endpoint: str | None = Field(
        None, description="the plugin's endpoint that the deployments are in, for plugins whose methods take one"
    )
    updates: Literal["update", "recreate"] = Field(
        "update",
        description="recreate: delete and create, for plugins that cannot update; nothing serves meanwhile",
    )
    ready: States | None = Field(
        None,
        description="what get shows once it serves, for plugins whose calls return before that: "
        'a dotted path and its values, such as {"status": ["ready"]}; all must hold. Unset: a status or state such as '
        "pending, creating or failed is believed; {}: what is there serves",
    )
    failed: States | None = Field(
        None, description="what get shows once the target gave up, in the same form; one is enough"
    )
    delete_config: dict[str, JsonValue] = Field({}, description="config of the plugin's delete, where it takes one")
    call_seconds: float = Field(
        1800.0, gt=0, description="how long one create, update or delete of the plugin may take before it is ended"
    )
    calls_at_once: int = Field(
        16, ge=1, le=256, description="creates, updates and deletes under way at once on this machine; the rest waits"
    )
    look_seconds: float = Field(5.0, gt=0, description="time between two looks through the plugin at what gets ready")
    idle_seconds: float = Field(
        300.0, gt=0, description="how long the process that holds the plugin stays without being asked"
    )
    predict_with: Literal["auto", "frame", "body"] = Field(
        "auto",
        description="what predict is given. frame: a DataFrame, list or dict made of the body; body: the body's JSON "
        "as it is; auto: body for endpoints, else frame",
    )


class BridgedDescription(Description):
    """A description whose help is the plugin's own words, then the bridge's settings."""

    def help(self) -> str:
        """Blocks for some seconds where this process has not heard the plugin's words yet."""
        from adapters.bridge.asking import target_help

        ours = super().help().partition("Settings of the target:")
        words = target_help(self.scheme.removeprefix(FORCED))
        return "\n".join([self.title, "", words.strip(), "", ours[1] + ours[2]])


@cache
def describe(scheme: str) -> Description:
    """What a target of this scheme, ``NAME`` or ``mlflow+NAME``, says about itself."""
    plugin = plugins()[scheme.removeprefix(FORCED)]
    return BridgedDescription(
        scheme=scheme,
        title=f"MLflow's plugin {plugin.name} ({plugin.package})",
        config_model=BridgeConfig,
        settings_model=BridgeSettings,
        capabilities=Capabilities(
            has_preconditions=True, names_models=True, name_pattern=r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
        ),
        extra="bridge",
        limits=Limits(parallel=4),
        deadline_seconds=3600.0,
        look_seconds=1.0,
    )
