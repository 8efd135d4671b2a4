"""Every number and place that an operator may want to change: environment variables with the prefix ``MODELPORT_``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class TargetSetting(BaseModel):
    """A target that is registered at the API's start when no target of its name is there yet."""

    model_config = ConfigDict(extra="forbid")
    uri: str
    settings: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    credentials: str | None = None


class GrantSetting(BaseModel):
    """A role, on some targets and on deployments with some labels, each of them everywhere when empty."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["viewer", "predictor", "deployer", "admin"]
    targets: list[str] = []
    labels: dict[str, str] = {}


class Settings(BaseSettings):
    """Read once per process; the defaults run everything on one machine, each with its reason in its description."""

    model_config = SettingsConfigDict(env_prefix="MODELPORT_", extra="forbid", frozen=True)

    folder: Path = Field(Path(".modelport"), description="where the embedded database, logs and local models live")
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite in the folder. postgresql://... for production"
    )
    broker_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Celery broker; `make up` starts a bundled server and sets this"
    )
    installation: str = Field(
        "modelport", pattern=r"^[a-z0-9-]{1,32}$", description="marks resources on targets as this installation's"
    )
    targets: dict[str, TargetSetting] = Field(
        default_factory=lambda: {"local": TargetSetting(uri="local")},
        description="JSON: targets registered at the API's start if absent",
    )

    model_schemes: list[str] = Field(
        default_factory=lambda: [
            *("models", "runs", "mlflow-artifacts", "s3", "gs", "wasb", "wasbs", "abfs", "abfss", "adl", "dbfs"),
            *("hdfs", "viewfs", "r2", "b2", "oss", "azureml", "pvc", "oci", "hf"),
        ],
        description="JSON: schemes that a model URI may have; http would let users make workers call anything",
    )
    model_roots: list[str] = Field(
        default_factory=lambda: ["."],
        description="JSON: folders that models given as paths must be in, where they are read; [] takes no paths",
    )

    lease_seconds: float = Field(
        60.0, gt=0, description="how long a worker may be silent before another takes its operation over"
    )
    claim_size: int = Field(128, gt=0, description="operations claimed by one worker task to write at once")
    look_size: int = Field(1000, gt=0, description="operations claimed by one worker task to look at once")
    threads: int = Field(32, gt=0, description="calls at once in one worker process; most of their time is waiting")
    advance_budget_seconds: float = Field(
        20.0, gt=0, description="how long one worker task goes on before it hands back what it has not reached"
    )
    tick_seconds: float = Field(
        0.25, gt=0, description="how often a worker asks the database for due work whose message was lost or not sent"
    )
    announce_seconds: float = Field(
        60.0, gt=0, description="how often open rows are announced again, so that a restarted Flower fills up"
    )
    worker_silent_seconds: float = Field(
        15.0, gt=0, description="a worker not heard from for this long is not counted as there"
    )
    attempts: int = Field(
        8, gt=0, description="temporary failures in a row after which an operation is given up; about five minutes"
    )
    backoff_seconds: float = Field(1.0, gt=0, description="first pause after a temporary failure; doubles, with jitter")
    backoff_cap_seconds: float = Field(120.0, gt=0, description="longest pause after a temporary failure")
    undo_deadline_seconds: float = Field(
        3600.0, gt=0, description="how long taking back may last; some targets cannot be interrupted"
    )

    observe_seconds: float = Field(
        300.0, ge=0, description="how often what targets serve is compared with the records; 0: never"
    )
    leftover_seconds: float = Field(
        1800.0, gt=0, description="how long after an operation its leftovers are tried to be removed again"
    )
    sweep_seconds: float = Field(30.0, gt=0, description="how often old rows are pruned and leftovers looked for")
    keep_days: float = Field(90.0, gt=0, description="how long finished operations and their events are kept")
    prune_size: int = Field(500, gt=0, description="finished operations removed in one transaction")

    api_host: str = Field(
        "127.0.0.1", description="address that the API listens on; another than loopback only once there are keys"
    )
    api_port: int = Field(8000, ge=0, le=65535, description="port that the API listens on")
    api_stop_seconds: float = Field(
        30.0, gt=0, description="how long requests in flight may take after the API was told to stop"
    )
    anonymous_role: Literal["", "viewer", "predictor", "deployer", "admin"] = Field(
        "", description="what who comes without a key may do; empty: nothing. On a loopback address only"
    )
    first_key_file: Path | None = Field(
        None, description="where migrating writes the first administrator's key; `make up` sets it. null: nowhere"
    )
    key_cache_seconds: float = Field(
        5.0, ge=0, description="how long an API process believes what it read of a key; a revoked one works so long"
    )
    key_use_seconds: float = Field(60.0, gt=0, description="how often the last use of keys is written down")
    key_overlap_seconds: float = Field(
        86_400.0, ge=0, description="how long a rotated key goes on beside the new one where nothing is said"
    )
    key_days: float = Field(365.0, gt=0, description="how long a new key lives where nothing is said")

    audit_seal_seconds: float = Field(1.0, gt=0, description="how often an API process chains new audit entries")
    audit_key: SecretStr | None = Field(
        None,
        description="goes into the audit's hashes, so that who can write the database alone cannot forge the chain; "
        "the same for every process and for ever",
    )

    oidc_issuer: str = Field("", description="OpenID Connect issuer whose tokens are taken; empty: API keys only")
    oidc_audience: str = Field("modelport", description="audience that a token must be for")
    oidc_jwks_url: str = Field("", description="where the issuer's keys are; empty: as its discovery document says")
    oidc_roles_claim: str = Field("roles", description="claim of a token that names its holder's groups or roles")
    oidc_grants: dict[str, list[GrantSetting]] = Field(
        default_factory=dict,
        description="JSON: what each value of that claim grants, "
        'as in {"ml-team": [{"role": "deployer", "targets": ["prod"], "labels": {"team": "ml"}}]}',
    )
    oidc_leeway_seconds: float = Field(30.0, ge=0, description="how far the issuer's clock may be from ours")
    oidc_jwks_seconds: float = Field(300.0, gt=0, description="how long the issuer's keys are believed")

    predict_threads: int = Field(
        40, gt=0, description="predictions at once in one API process; apart from those that answer everything else"
    )
    watch_seconds: float = Field(
        0.2,
        gt=0,
        description="how often the database is asked while somebody waits for an operation, one query for all",
    )
    keep_alive_seconds: float = Field(
        15.0, gt=0, description="silence on an event stream after which a comment keeps proxies from closing it"
    )
    check_seconds: float = Field(10.0, gt=0, description="how long a target's check, or logs, wait for a worker")

    queue_size: int = Field(20, gt=0, description="unfinished operations that one deployment may have")
    predict_body_bytes: int = Field(16 * 1024 * 1024, gt=0, description="largest body of a prediction")
    body_bytes: int = Field(1024 * 1024, gt=0, description="largest request body, predictions and batches apart")
    batch_body_bytes: int = Field(16 * 1024 * 1024, gt=0, description="largest body of a batch: 10,000 operations")
    predict_timeout_seconds: float = Field(60.0, gt=0, description="how long a prediction may take")
    body_seconds: float = Field(60.0, gt=0, description="how long a request's body may take to arrive")
    header_seconds: float = Field(20.0, gt=0, description="how long a connection may take to send a request's headers")
    connections: int = Field(2000, gt=0, description="connections of one API process; beyond, new ones get 503")
    waits: int = Field(1000, gt=0, description="long polls and event streams at once in one API process")
    waits_per_principal: int = Field(200, gt=0, description="the same for one key or sign-on user")
    submissions_per_minute: int = Field(
        6000, gt=0, description="changes that one key or user may ask one API process for in a minute, refused ones too"
    )
    queued_per_principal: int = Field(
        20_000, gt=0, description="unfinished operations of one key or user, those of batches apart"
    )
    page_size: int = Field(100, gt=0, le=1000, description="items on a page where the request does not say")
    wait_seconds_max: float = Field(60.0, gt=0, description="longest wait that Prefer: wait is granted")
    idempotency_hours: float = Field(48.0, gt=0, description="how long an idempotency key is remembered")

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL with the driver that is installed."""
        if not self.database_url:
            return f"sqlite:///{self.folder.absolute() / 'modelport.db'}"
        return self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def call_timeout_seconds(self) -> float:
        """A single call to a target: within a third of the lease, so that a stale one ends before a takeover."""
        return self.lease_seconds / 3


@cache
def settings() -> Settings:
    """This process's settings."""
    return Settings()
