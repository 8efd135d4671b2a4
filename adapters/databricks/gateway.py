"""Config of a whole endpoint: AI Gateway, rate limits, inference tables, notifications.

Fields as in databricks-sdk's ``service/serving.py``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from adapters.description import Strict


class Enabled(Strict):
    """A switch."""

    enabled: bool


class Pii(Strict):
    """What is done about personal data."""

    behavior: Literal["BLOCK", "MASK", "NONE"]


class Guardrail(Strict):
    """What is let through, in one direction."""

    pii: Pii | None = None
    safety: bool | None = None
    invalid_keywords: list[str] | None = None
    valid_topics: list[str] | None = None


class Guardrails(Strict):
    """What is let through, in each direction."""

    input: Guardrail | None = None
    output: Guardrail | None = None


class InferenceTable(Strict):
    """Where requests and answers are logged, in Unity Catalog."""

    catalog_name: str | None = None
    schema_name: str | None = None
    table_name_prefix: str | None = None
    enabled: bool | None = None


class GatewayRateLimit(Strict):
    """How many calls or tokens a minute, for whom."""

    renewal_period: Literal["minute"] = "minute"
    calls: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    key: Literal["endpoint", "service_principal", "user", "user_group"] | None = None
    principal: str | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> GatewayRateLimit:
        if self.calls is None and self.tokens is None:
            raise ValueError("needs calls or tokens")
        if self.principal is not None and self.key not in ("user", "user_group", "service_principal"):
            raise ValueError("principal needs key: user, user_group or service_principal")
        return self


class AiGateway(Strict):
    """Settings of the AI Gateway; each write replaces all of them."""

    fallback_config: Enabled | None = None
    guardrails: Guardrails | None = None
    inference_table_config: InferenceTable | None = None
    rate_limits: list[GatewayRateLimit] | None = None
    usage_tracking_config: Enabled | None = None


class RateLimit(Strict):
    """The older limit of calls a minute; Databricks recommends ``ai_gateway`` instead."""

    calls: int = Field(ge=0)
    renewal_period: Literal["minute"] = "minute"
    key: Literal["endpoint", "user"] | None = None


class Notifications(Strict):
    """Who gets mail when an update ends."""

    on_update_failure: list[str] | None = None
    on_update_success: list[str] | None = None
