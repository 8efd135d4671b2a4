"""Reading of target URIs: which server, which of its targets, and how calls wait there."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from modelport.mlflow_target.config import Unfit, seconds, truth

SCHEMES = {"modelport": "http", "modelport+https": "https"}
OPTIONS = ("profile", "wait", "timeout_seconds")
FORMS = "modelport://host:port/target, modelport+https://host/target, or modelport:/target"


@dataclass(frozen=True)
class Address:
    """One target of one server. ``url`` None: that of ``profile``, else of the environment.

    ``wait`` and ``timeout_seconds`` hold for calls whose config does not say otherwise.
    """

    url: str | None
    target: str
    profile: str | None = None
    wait: bool = True
    timeout_seconds: float | None = None


def address(uri: str) -> Address:
    """Reads a target URI. Raises Unfit, saying how one looks."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or parts.fragment:
        raise Unfit(f"{uri!r} is no URI of a modelport target; one looks like {FORMS}")
    if parts.username is not None or parts.password is not None:
        raise Unfit("a key does not belong into a URI, which ends up in logs: put it into MODELPORT_API_KEY")
    *prefix, target = [unquote(part) for part in parts.path.strip("/").split("/")]
    if not target or (prefix and not parts.netloc):
        raise Unfit(f"{uri!r} names no target; one looks like {FORMS}")
    options = _options(parts.query)
    if "profile" in options and parts.netloc:
        raise Unfit(f"{uri!r} names a server and a profile; a profile goes with modelport:/target")
    return Address(
        url=_url(parts, prefix) if parts.netloc else None,
        target=target,
        profile=options.get("profile"),
        wait=truth("wait", options.get("wait", True)),
        timeout_seconds=seconds("timeout_seconds", options.get("timeout_seconds")),
    )


def _url(parts: SplitResult, prefix: list[str]) -> str:
    return "/".join([f"{SCHEMES[parts.scheme]}://{parts.netloc}", *prefix])


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise Unfit(f"{name!r} is no option of a target URI; there are {', '.join(OPTIONS)}")
    return options
