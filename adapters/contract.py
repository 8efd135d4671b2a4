"""What every target's adapter promises to the worker that drives it.

The types here are plain and hold JSON only, so that a handle survives a crash in the database and an adapter
needs nothing but this module. No adapter sees a database session; no verb sleeps or waits.

Errors, all raised by adapters and understood by the engine::

    AdapterError
    ├── Temporary      try again, after ``retry_in`` seconds if the target said so
    ├── Permanent      trying again cannot help: what was asked for is wrong for this target
    ├── Conflict       something of that name is there and it is not ours; it is never touched
    └── Denied         the credentials do not allow it

Anything else that an adapter raises counts as temporary until the operation's attempts run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

JSON = dict[str, Any]
Handle = JSON
Toward = Literal["forward", "back"]
Phase = Literal["prepare", "switch", "clean"]
Outcome = Literal["again", "done", "failed", "landed"]


class AdapterError(Exception):
    """The target refused or could not be reached; the text is shown to the user, so it holds no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Temporary(AdapterError):
    """Try again; ``retry_in`` seconds when the target said how long, else the engine backs off."""

    def __init__(self, message: str, retry_in: float | None = None) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class Permanent(AdapterError):
    """Trying again cannot help."""


class Conflict(Permanent):
    """A thing of this name exists on the target and is not ours."""


class Denied(Permanent):
    """The target's credentials do not allow this."""


@dataclass(frozen=True)
class Place:
    """The target that an adapter serves: its registered URI and settings, and what the installation adds.

    ``call_timeout_seconds`` bounds every single call, so that none outlives the lease it was made under.
    ``folder`` is a directory of this installation on this machine where an adapter may keep files.
    ``credentials`` is a reference (``env:NAME``, ``file:PATH``) that the adapter resolves at use, never a secret.
    """

    name: str
    uri: str
    installation: str
    folder: str
    settings: JSON = field(default_factory=dict)
    credentials: str | None = None
    call_timeout_seconds: float = 20.0


@dataclass(frozen=True)
class Variant:
    """One model behind a deployment. ``config`` was validated by the target's config model."""

    name: str
    model_uri: str
    flavor: str | None = None
    config: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """What a revision asks for: variants and their traffic in whole percent, which sums to 100."""

    variants: tuple[Variant, ...]
    traffic: Mapping[str, int]

    @classmethod
    def from_json(cls, document: JSON) -> Spec:
        """The specification of this document."""
        return cls(
            variants=tuple(Variant(**variant) for variant in document["variants"]),
            traffic=dict(document["traffic"]),
        )

    def to_json(self) -> JSON:
        """The document that ``from_json`` reads."""
        return {
            "variants": [
                {"name": v.name, "model_uri": v.model_uri, "flavor": v.flavor, "config": v.config}
                for v in self.variants
            ],
            "traffic": dict(self.traffic),
        }


@dataclass(frozen=True)
class Change:
    """One step of a deployment's life, seen from what is there to what is wanted.

    ``current`` is a hint (the last recorded revision) and may be wrong after a failed undo; ``placed`` is the handle
    with which the last operation of this deployment ended, ``{}`` before the first. ``desired`` is None for a delete.
    A handle may list things that are still to be removed (``leftovers`` of the last operation): ``plan`` carries them
    over, so that the next change, or a reconcile to what already serves, removes them. With ``adopt`` a thing of this
    name without an owner is not a conflict but is marked as ours; its ``desired`` is what it serves already, and its
    way back does nothing.
    ``uid`` is the same for the deployment's whole life and names its resources; ``installation`` marks them as ours.
    """

    installation: str
    uid: str
    name: str
    current: Spec | None
    desired: Spec | None
    placed: Handle
    adopt: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What one look found. ``facts`` is the adapter's own; ``message`` is the target's own words for people.

    ``needs_write`` is False when the step from here will only wait or conclude, so that a node that merely looks may
    take it; when in doubt it is True, and the step is handed to a node that writes.
    """

    facts: JSON
    message: str = ""
    needs_write: bool = True


@dataclass(frozen=True)
class Leftover:
    """A thing that stayed behind on the target: what kind, its name there, and why it is still there."""

    kind: str
    name: str
    why: str


@dataclass(frozen=True)
class Progress:
    """What one step came to.

    ``outcome`` is *again* in ``again_in`` seconds, *done* (forward: settled and serving what was asked for; back: what
    the operation made is gone and what was there before serves), *failed* (the target itself gave up; ``message`` says
    why in its words) or, on the way back only, *landed*: it could not be undone because it serves after all.
    ``phase`` tells how far the change is: until *switch* a failure is undone, in *clean* the new revision serves and
    only removal of the old is left. ``route`` is where predictions go once done (None after a delete).
    ``seen`` may carry what the answer to the write already told, which saves the next look.
    """

    handle: Handle
    outcome: Outcome
    phase: Phase = "prepare"
    again_in: float = 0.0
    message: str = ""
    leftovers: tuple[Leftover, ...] = ()
    route: JSON | None = None
    seen: Seen | None = None


@dataclass(frozen=True)
class Observed:
    """One deployment as the target really serves it, for drift and adopting.

    ``uid`` is None where nobody's mark is on it. ``content`` is the same string as ``handle["content"]`` of the plan
    that asked for what it serves now, and differs as soon as anything that the plan fixed is different.
    ``detail`` may hold what people want to see of a difference.
    """

    name: str
    uid: str | None
    status: str
    spec: Spec | None
    content: str | None = None
    route: JSON | None = None
    detail: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Fence:
    """The number that this write carries where the target can compare it; it only ever grows for one deployment.

    ``floor`` is the number from which on a write must have reached the target before a step may conclude: after a
    takeover the lost worker's call may still be under way, and only a later number makes the target refuse it. An
    adapter whose target compares fences repeats an equal write where there is nothing else to write, and notes the
    number of the last write that was accepted in its handle under ``fenced``.
    """

    number: int
    floor: int = 0


class Adapter(Protocol):
    """The verbs. One instance serves one target in one process and is called from several threads at once."""

    def resolve(self, spec: Spec) -> Spec:
        """Fix what may move: aliases and latest versions become the versions they name now.

        Reads only. Called once, when the operation starts; the answer is recorded in the revision.
        Raises ``Permanent`` naming the variant and its model URI when it names nothing.
        """
        ...

    def plan(self, change: Change) -> Handle:
        """Fix every name that the change will use and all that undoing it needs. No call to the target.

        The same change gives the same handle. The core stores it before the first step.
        """
        ...

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """See how the things of these handles stand; reads only, never waits, one answer for every key.

        Uses one list call rather than many single ones where the target has it. A failure that concerns one handle
        alone is its value; one that concerns all of them is raised.
        """
        ...

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:
        """Take the change one step further: at most one write, then back.

        Twice is the same as once, also when the first answer was lost: what is there already and is ours is adopted.
        A delete has no way back: ``toward="back"`` before its first write undoes nothing and is done.
        """
        ...

    def observe_all(self) -> Iterable[Observed]:
        """What the target serves, in list calls; reads only."""
        ...

    def check(self) -> str:
        """Reach the target with its credentials and say what answered, in a line for people. Reads only."""
        ...

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """The last lines that the model's servers wrote; empty where the target has none."""
        ...

    def close(self) -> None:
        """Give back connections. Twice is the same as once."""
        ...


@dataclass(frozen=True)
class Request:
    """One prediction on its way: the body's bytes are passed on untouched."""

    body: bytes
    content_type: str
    variant: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Chunks(Protocol):
    """The bytes of an answer that streams, as they come; read once, by one thread at a time.

    Whoever takes the answer closes them at the end: that gives the connection back, and breaks off what still comes.
    """

    def __next__(self) -> bytes:
        """The next bytes, waited for. Raises StopIteration at the end, and Unreachable where the stream breaks."""
        ...

    def close(self) -> None:
        """No more is wanted. Twice is the same as once."""
        ...


@dataclass(frozen=True)
class Answer:
    """What the model's server said, whatever it said: its own status, body and type.

    Where it streams, ``body`` is empty and ``chunks`` gives the bytes as they come.
    """

    status: int
    body: bytes
    content_type: str
    variant: str | None = None
    chunks: Chunks | None = None


class Unreachable(Exception):
    """No answer came from the model's server: it is not there, or took longer than the time limit."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out
