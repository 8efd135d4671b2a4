"""What can go wrong with the fake API server, on demand, and what it writes down of every call.

Faults apply to calls by verb (APPLY: every write that makes or changes, DELETE, GET, LIST, LOG, INVOKE, or ``*``;
WRITE means APPLY and DELETE), resource and name (``fnmatch``), ``count`` times (None: always). A dry run is no write
and has no faults:

=============  =====================================================================================
throttled      429 TooManyRequests with Retry-After, nothing done
unavailable    503 ServiceUnavailable, nothing done
quota          403 Forbidden "exceeded quota", nothing done
webhook        500 InternalError "failed calling webhook", nothing done
drop_before    the connection breaks before anything was done
drop_after     the connection breaks after the change was made
conflict       409 Conflict, as for a stale resourceVersion
fails          what was asked for does not come up, for the reason of ``message``
stuck          what was asked for never ends
rolls_back     somebody puts back what was there before
stale          a read shows the objects as they were before the last accepted write
not_found      404, and missing in lists
denied         403 Forbidden, the message repeats the credentials, as careless proxies do
refused        403, a validating webhook denies the request with ``message``
=============  =====================================================================================

A model whose URI has ``broken`` in it always fails.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tests.fakes.kubernetes_objects import Document, Refusal

WRITES = {"APPLY", "DELETE"}
TALLY = struct.Struct("qqq")


@dataclass
class Fault:
    kind: str
    verb: str = "*"
    resource: str = "*"
    name: str = "*"
    count: int | None = 1
    message: str = "no room left"
    retry_after: float = 1.0


@dataclass
class Conduct:
    """What can be set under ``/_fake/conduct``; all times in seconds.

    With ``looks`` a change takes that many reads that show it, whatever the clock says: for tests of each point.
    ``mode`` is the cluster's default deployment mode; ``splits`` whether KServe writes weights into HTTPRoutes;
    ``gateway_api`` False: the cluster knows no HTTPRoutes; ``knative`` False: nor Revisions.
    """

    seconds: float = 20.0
    delete_seconds: float = 0.0
    looks: int | None = None
    latency: float = 0.0
    token: str | None = "fake-token"
    mode: str = "Standard"
    splits: bool = True
    gateway_api: bool = True
    knative: bool = True
    model_status: int = 200
    model_latency: float = 0.0
    predict_token: str | None = None
    failure: str = "RuntimeError: no weights in the cellar"
    log_lines: int = 3


@dataclass
class Recorder:
    """``rights`` are those that the calls needed, as a Role's rules name them: verb, group, resource."""

    log: deque[Document] = field(default_factory=lambda: deque(maxlen=100_000))
    calls: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    effects: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rights: set[tuple[str, str, str]] = field(default_factory=set)

    def tally(self) -> bytes:
        writes = self.calls["APPLY"] + self.calls["DELETE"]
        effects = sum(sum(each.values()) for each in self.effects.values())
        return TALLY.pack(sum(self.calls.values()), writes, effects)

    def counts(self) -> Document:
        rights = sorted(self.rights)
        return {"calls": self.calls, "kinds": self.kinds, "effects": self.effects, "rights": rights}


class Tally:
    """Three numbers in a file that the tests' process has mapped; nothing where there is no file."""

    def __init__(self, path: str | None) -> None:
        self._map = None
        if path is not None:
            with Path(path).open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), TALLY.size)

    def write(self, recorder: Recorder) -> None:
        if self._map is not None:
            self._map[: TALLY.size] = recorder.tally()


class Faults:
    """Those that are not used up."""

    def __init__(self, *faults: dict[str, Any]) -> None:
        self.pending = [Fault(**fault) for fault in faults]

    def listed(self) -> list[Document]:
        return [asdict(fault) for fault in self.pending]

    def take(self, kind: str, verb: str, resource: str, name: str | None) -> Fault | None:
        for fault in self.pending:
            asked = fault.verb in ("*", verb) or (fault.verb == "WRITE" and verb in WRITES)
            named = name is None or fnmatch(name, fault.name)
            if fault.kind == kind and asked and named and fnmatch(resource, fault.resource):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.pending.remove(fault)
                return fault
        return None

    def refuse(self, verb: str, resource: str, name: str | None, authorization: str) -> None:
        """Raises what such a call is refused with, if it is."""
        if fault := self.take("throttled", verb, resource, name):
            raise Refusal(429, "TooManyRequests", "the server has received too many requests", fault.retry_after)
        if self.take("unavailable", verb, resource, name):
            raise Refusal(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        if self.take("webhook", verb, resource, name):
            text = 'failed calling webhook "inferenceservice.kserve-webhook-server.defaulter": connection refused'
            raise Refusal(500, "InternalError", f"Internal error occurred: {text}")
        if self.take("quota", verb, resource, name):
            raise Refusal(403, "Forbidden", f'{resource} "{name}" is forbidden: exceeded quota: team, used: 10')
        if self.take("denied", verb, resource, name):
            raise Refusal(403, "Forbidden", f'{resource} "{name}" is forbidden: User {authorization} cannot do that')
        if fault := self.take("refused", verb, resource, name):
            hook = f'admission webhook "{resource}.validator" denied the request'
            raise Refusal(403, "Forbidden", f"{hook}: {fault.message}")
        if verb in WRITES and self.take("conflict", verb, resource, name):
            told = f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified'
            raise Refusal(409, "Conflict", told)
