"""Config of an external model: a provider, its task, and its keys, which are references to Databricks secrets only.

Fields as in ``ExternalModel`` of databricks-sdk's ``service/serving.py``, without those that carry a key in plain text.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from adapters.description import Strict

REFERENCE = re.compile(r"\{\{\s*secrets/[^/\s{}]+/[^/\s{}]+\s*\}\}")
REMEDY = "put the value into a Databricks secret scope and give {{secrets/SCOPE/KEY}}"


def is_reference(text: str) -> bool:
    """Whether this names a secret rather than being one."""
    return REFERENCE.fullmatch(text.strip()) is not None


def _reference(text: str) -> str:
    if not is_reference(text):
        raise ValueError(f"is no reference to a secret; {REMEDY}")
    return text


Secret = Annotated[str, AfterValidator(_reference)]


class Quiet(Strict):
    """A document that may be given a secret by mistake: its errors never show what was given."""

    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _no_plain_text(cls, given: Any) -> Any:
        plain = sorted(key for key in given if key.endswith("_plaintext")) if isinstance(given, dict) else []
        if plain:
            raise ValueError(f"{plain[0]} would be on record in plain text; {REMEDY}")
        return given


class Ai21Labs(Quiet):
    """AI21 Labs."""

    ai21labs_api_key: Secret


class Bedrock(Quiet):
    """Amazon Bedrock: keys, an instance profile, or a service credential."""

    aws_region: str
    bedrock_provider: Literal["ai21labs", "amazon", "anthropic", "cohere"]
    aws_access_key_id: Secret | None = None
    aws_secret_access_key: Secret | None = None
    instance_profile_arn: str | None = None
    uc_service_credential_name: str | None = None

    @model_validator(mode="after")
    def _has_credentials(self) -> Bedrock:
        keys = (self.aws_access_key_id, self.aws_secret_access_key)
        if any(keys) and not all(keys):
            raise ValueError("aws_access_key_id and aws_secret_access_key go together")
        if not (all(keys) or self.instance_profile_arn or self.uc_service_credential_name):
            raise ValueError("needs keys, instance_profile_arn or uc_service_credential_name")
        return self


class Anthropic(Quiet):
    """Anthropic."""

    anthropic_api_key: Secret


class Cohere(Quiet):
    """Cohere."""

    cohere_api_key: Secret
    cohere_api_base: str | None = None


class ApiKeyAuth(Quiet):
    """A key in a header of the given name."""

    key: str
    value: Secret


class BearerTokenAuth(Quiet):
    """A bearer token."""

    token: Secret


class Custom(Quiet):
    """Any server that speaks OpenAI's interface."""

    custom_provider_url: str
    api_key_auth: ApiKeyAuth | None = None
    bearer_token_auth: BearerTokenAuth | None = None


class OtherWorkspace(Quiet):
    """A serving endpoint of another Databricks workspace."""

    databricks_workspace_url: str
    databricks_api_token: Secret


class VertexAi(Quiet):
    """Google Cloud Vertex AI."""

    project_id: str
    region: str
    private_key: Secret


class OpenAi(Quiet):
    """OpenAI and Azure OpenAI, with a key or a Microsoft Entra application."""

    openai_api_key: Secret | None = None
    openai_api_base: str | None = None
    openai_api_type: Literal["openai", "azure", "azuread"] | None = None
    openai_api_version: str | None = None
    openai_deployment_name: str | None = None
    openai_organization: str | None = None
    microsoft_entra_client_id: str | None = None
    microsoft_entra_client_secret: Secret | None = None
    microsoft_entra_tenant_id: str | None = None

    @model_validator(mode="after")
    def _has_credentials(self) -> OpenAi:
        if not (self.openai_api_key or self.microsoft_entra_client_secret):
            raise ValueError("needs openai_api_key or microsoft_entra_client_secret")
        return self


class Palm(Quiet):
    """PaLM."""

    palm_api_key: Secret


CONFIG_OF = {
    "ai21labs": "ai21labs_config",
    "amazon-bedrock": "amazon_bedrock_config",
    "anthropic": "anthropic_config",
    "cohere": "cohere_config",
    "custom": "custom_provider_config",
    "databricks-model-serving": "databricks_model_serving_config",
    "google-cloud-vertex-ai": "google_cloud_vertex_ai_config",
    "openai": "openai_config",
    "palm": "palm_config",
}


class ExternalModel(Quiet):
    """A model that a provider serves. ``provider`` and ``name`` are in the model's URI, ``external:/PROVIDER/NAME``."""

    task: str = Field(description="such as llm/v1/chat, llm/v1/completions, llm/v1/embeddings")
    provider: str | None = Field(None, description="if given, that of the model's URI")
    name: str | None = Field(None, description="if given, that of the model's URI")
    ai21labs_config: Ai21Labs | None = None
    amazon_bedrock_config: Bedrock | None = None
    anthropic_config: Anthropic | None = None
    cohere_config: Cohere | None = None
    custom_provider_config: Custom | None = None
    databricks_model_serving_config: OtherWorkspace | None = None
    google_cloud_vertex_ai_config: VertexAi | None = None
    openai_config: OpenAi | None = None
    palm_config: Palm | None = None

    @model_validator(mode="after")
    def _has_one_config(self) -> ExternalModel:
        given = [key for key in CONFIG_OF.values() if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(CONFIG_OF.values())}")
        if self.provider is not None and CONFIG_OF.get(self.provider) != given[0]:
            raise ValueError(f"{given[0]} does not belong to the provider {self.provider!r}")
        return self
