"""The client of a modelport server.

    import modelport

    with modelport.Client() as client:
        client.apply("local", "iris", model_uri="models:/iris/3").wait(timeout=600)
        print(client.predict("local", "iris", {"inputs": [[5.1, 3.5, 1.4, 0.2]]}).json())

Names are loaded when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelport.async_client import AsyncClient
    from modelport.awaiting.handles import AsyncDeployment, AsyncOperation
    from modelport.blocking.handles import Deployment, Operation
    from modelport.client import Client
    from modelport.errors import (
        AlreadyExists,
        Busy,
        Conflict,
        Forbidden,
        Invalid,
        KeyReused,
        MatchRequired,
        ModelFailed,
        ModelportError,
        ModelTimeout,
        ModelUnreachable,
        NoPreviousRevision,
        NotFound,
        NotRetryable,
        NotServing,
        OperationCancelled,
        OperationFailed,
        Problem,
        QueueFull,
        ServerError,
        Stale,
        TargetInUse,
        Throttled,
        TooLate,
        TooSlow,
        Unauthorized,
        UnexpectedAnswer,
        Unreachable,
        WaitTimeout,
    )
    from modelport.types import Event, Prediction, Revision, Target, Variant

__all__ = [
    "Client",
    "AsyncClient",
    "Deployment",
    "Operation",
    "AsyncDeployment",
    "AsyncOperation",
    "Event",
    "Prediction",
    "Revision",
    "Target",
    "Variant",
    "ModelportError",
    "Unreachable",
    "UnexpectedAnswer",
    "Problem",
    "Invalid",
    "KeyReused",
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "Conflict",
    "AlreadyExists",
    "Busy",
    "QueueFull",
    "NotServing",
    "TooLate",
    "NotRetryable",
    "NoPreviousRevision",
    "TargetInUse",
    "Stale",
    "MatchRequired",
    "Throttled",
    "TooSlow",
    "ServerError",
    "ModelUnreachable",
    "ModelTimeout",
    "ModelFailed",
    "OperationFailed",
    "OperationCancelled",
    "WaitTimeout",
]

_HOMES = {
    "Client": "modelport.client",
    "AsyncClient": "modelport.async_client",
    **dict.fromkeys(("AsyncDeployment", "AsyncOperation"), "modelport.awaiting.handles"),
    **dict.fromkeys(("Deployment", "Operation"), "modelport.blocking.handles"),
    **dict.fromkeys(("Event", "Prediction", "Revision", "Target", "Variant"), "modelport.types"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "modelport.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
