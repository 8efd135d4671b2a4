"""The client: asks a modelport server, blocks for its answers, and raises the exceptions of ``modelport.errors``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from modelport import answers
from modelport.calls import Calls, Match, Specification, specification
from modelport.connection import Connection
from modelport.handles import Deployment, Operation
from modelport.pieces import Pieces
from modelport.repeating import Repeats
from modelport.sse import Decoder
from modelport.transport import ONCE, Transport
from modelport.types import Check, Event, Prediction, Revision, Target
from modelport.waiting import LONG_POLL_SECONDS, OUTAGES, RECONNECT_SECONDS, Outage, Polls, raise_unless_succeeded

B = TypeVar("B", Operation, Deployment, Operation | Deployment)
OnConflict = Literal["queue", "refuse", "supersede"]


class Client:
    """A modelport server, for one or many threads.

    ``url`` and ``api_key`` default to ``MODELPORT_URL`` and ``MODELPORT_API_KEY``. ``timeout`` is seconds for one
    answer (``MODELPORT_TIMEOUT_SECONDS``, else 30); a prediction may be given its own. Every submission carries an
    idempotency key made here (or given as ``key``), so it is sent again, at most ``repeats.limit`` times, where the
    connection broke or the server was busy, and takes effect once. A prediction is sent again only if the server cannot
    have seen it. While something is waited for, the server may be away for ``outage_seconds``. Use it as a context
    manager, or call ``close``.

    Every method blocks until the server has answered, and raises a ``ModelportError``.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | None = None,
        repeats: Repeats | None = None,
        outage_seconds: float = 60.0,
    ) -> None:
        self._connection = Connection.made_from(url, api_key, timeout)
        self._outage_seconds = outage_seconds
        self._calls = Calls(Deployment, Operation)
        self._transport = Transport(self._connection, repeats or Repeats())

    @property
    def connection(self) -> Connection:
        """The server's address and what every request to it carries."""
        return self._connection

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._connection.url

    def create(
        self,
        target: str,
        name: str,
        *,
        on_conflict: OnConflict | None = None,
        key: str | None = None,
        **given: Unpack[Specification],
    ) -> Operation:
        """Begin to deploy what is not there yet: ``model_uri``, or several ``variants`` and their ``traffic``.

        ``on_conflict`` says what happens beside unfinished operations. Raises AlreadyExists.
        """
        body = specification(given)
        return self._bound(
            self._transport.send(self._calls.create(target, name, body, on_conflict=on_conflict, key=key))
        )

    def apply(
        self,
        target: str,
        name: str,
        *,
        if_match: Match = None,
        key: str | None = None,
        **given: Unpack[Specification],
    ) -> Operation | Deployment:
        """Make the deployment be this, whether it is there or not.

        Gives the operation that does it, or the deployment where it is so already. Either has ``wait``.
        """
        body = specification(given)
        return self._bound(self._transport.send(self._calls.apply(target, name, body, if_match=if_match, key=key)))

    def update(
        self,
        target: str,
        name: str,
        *,
        if_match: Match = None,
        key: str | None = None,
        **given: Unpack[Specification],
    ) -> Operation | Deployment:
        """Change only what is given; ``config`` and ``labels`` are merged key by key, and None removes a key."""
        body = specification(given)
        return self._bound(self._transport.send(self._calls.update(target, name, body, if_match=if_match, key=key)))

    def delete(
        self, target: str, name: str, *, cancel_pending: bool = False, if_match: Match = None, key: str | None = None
    ) -> Operation:
        """Begin to delete; ``cancel_pending`` cancels what is under way or queued before it."""
        call = self._calls.delete(target, name, cancel_pending=cancel_pending, if_match=if_match, key=key)
        return self._bound(self._transport.send(call))

    def rollback(
        self,
        target: str,
        name: str,
        *,
        revision: int | None = None,
        if_match: Match = None,
        key: str | None = None,
    ) -> Operation | Deployment:
        """Go back to a revision, by default the one that served before this one."""
        return self._bound(
            self._transport.send(self._calls.rollback(target, name, revision=revision, if_match=if_match, key=key))
        )

    def traffic(
        self,
        target: str,
        name: str,
        traffic: Mapping[str, int],
        *,
        if_match: Match = None,
        key: str | None = None,
    ) -> Operation | Deployment:
        """Split the traffic anew among the variants, in whole percent that sum to 100."""
        return self._bound(self._transport.send(self._calls.traffic(target, name, traffic, if_match=if_match, key=key)))

    def get(self, target: str, name: str) -> Deployment:
        """One deployment. Raises NotFound."""
        return self._bound(self._transport.send(self._calls.get(target, name)))

    def list(
        self,
        *,
        target: str | None = None,
        labels: Mapping[str, str] | None = None,
        status: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Deployment]:
        """All deployments that have these labels, page after page as they are read."""
        wanted = [f"{name}={value}" for name, value in (labels or {}).items()]
        query = {"target": target, "label": wanted, "status": status, "page_size": page_size}
        for deployment in self._transport.pages(lambda token: self._calls.list(query, token)):
            yield self._bound(deployment)

    def revisions(self, target: str, name: str, *, page_size: int | None = None) -> Iterator[Revision]:
        """The revisions of a deployment."""
        return self._transport.pages(lambda token: self._calls.revisions(target, name, {"page_size": page_size}, token))

    def revision(self, target: str, name: str, number: int) -> Revision:
        """One revision. Raises NotFound."""
        return self._transport.send(self._calls.revision(target, name, number))

    def predict(
        self,
        target: str,
        name: str,
        data: Any,
        *,
        variant: str | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """Ask the model. ``data``: bytes and text go as they are, anything else as JSON.

        JSON is an object with exactly one of ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``.
        An error of the model is a Prediction with its status; an error of the server is raised.
        """
        call = self._calls.predict(target, name, data, variant=variant, content_type=content_type)
        return self._transport.send(call, timeout=timeout)

    def predict_stream(
        self,
        target: str,
        name: str,
        data: Any,
        *,
        variant: str | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Any]:
        """As ``predict``, for models that answer piece by piece: the JSON of each piece as it comes.

        ``timeout`` is seconds for one piece. An answer that comes as a whole is one piece. Raises ModelFailed.
        """
        call = self._calls.predict_stream(target, name, data, variant=variant, content_type=content_type)
        pieces = Pieces()
        for chunk in self._transport.stream(call, timeout=timeout):
            yield from pieces.feed(chunk)
        yield from pieces.end()

    def operation(self, operation_id: str) -> Operation:
        """One operation as it stands. Raises NotFound."""
        return self._bound(self._transport.send(self._calls.operation(operation_id)))

    def operations(
        self,
        *,
        target: str | None = None,
        deployment: str | None = None,
        state: str | None = None,
        kind: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Operation]:
        """All operations that fit, page after page as they are read."""
        query = {
            "target": target,
            "deployment": deployment,
            "state": state,
            "kind": kind,
            "page_size": page_size,
        }
        for operation in self._transport.pages(lambda token: self._calls.operations(query, token)):
            yield self._bound(operation)

    def cancel(self, operation_id: str, *, key: str | None = None) -> Operation:
        """Ask for an operation to be taken back; twice is the same as once. Raises TooLate when it has ended."""
        return self._bound(self._transport.send(self._calls.cancel(operation_id, key=key)))

    def retry(self, operation_id: str, *, key: str | None = None) -> Operation:
        """Begin anew what failed or was cancelled; the new operation names the old in ``retry_of``."""
        return self._bound(self._transport.send(self._calls.retry(operation_id, key=key)))

    def undo(self, operation_id: str, *, key: str | None = None) -> Operation:
        """Ask again that what an ended operation left behind is removed. Raises NotRetryable where nothing was."""
        return self._bound(self._transport.send(self._calls.undo(operation_id, key=key)))

    def reconcile(self, target: str, name: str, *, key: str | None = None) -> Operation:
        """Bring the target back to the recorded revision after other hands changed it."""
        return self._bound(self._transport.send(self._calls.reconcile(target, name, key=key)))

    def adopt(
        self, target: str, name: str, *, labels: Mapping[str, str] | None = None, key: str | None = None
    ) -> Operation:
        """Take an existing deployment of the target under management; what serves is not touched."""
        return self._bound(self._transport.send(self._calls.adopt(target, name, labels, key=key)))

    def wait(self, operation_id: str, timeout: float | None = None) -> Operation:
        """Block until the operation has succeeded, by long polls.

        Raises OperationFailed and OperationCancelled, WaitTimeout after ``timeout`` seconds (it goes on; a server
        that does not answer can make it later by the client's own timeout), and Unreachable.
        """
        *_, last = self.follow(operation_id, timeout=timeout, every=LONG_POLL_SECONDS)
        raise_unless_succeeded(last)
        return last

    def follow(self, operation_id: str, *, timeout: float | None = None, every: float = 2.0) -> Iterator[Operation]:
        """The operation as it is now, then every so many seconds, and at once when it has ended, which ends this.

        Raises WaitTimeout and Unreachable as ``wait``; that it failed is not raised.
        """
        polls = Polls(timeout=timeout, every=every, outage_seconds=self._outage_seconds)
        while True:
            call = self._calls.operation(operation_id, wait_seconds=polls.next_wait())
            try:
                operation = self._bound(self._transport.send(call, repeats=ONCE))
            except OUTAGES as error:
                pause = polls.pause_after_error(error)
            else:
                yield operation
                if operation.final:
                    return
                pause = polls.pause_after(operation)
            time.sleep(pause)

    def events(self, operation_id: str, *, after: int = 0) -> Iterator[Event]:
        """The history of an operation from the event after number ``after``, as it happens, until it has ended.

        A broken connection is taken up where it broke, so every event comes once and in order.
        """
        outage = Outage(self._outage_seconds)
        ended = False
        while True:
            decoder = Decoder()
            try:
                for event in self._stream(operation_id, after, decoder, outage):
                    after = event.number
                    yield event
                    ended = ended or event.final
                if ended:
                    return  # and not sooner: what is left behind may be told after the end
                if self._transport.send(self._calls.operation(operation_id), repeats=ONCE).final:
                    yield from self._rest_of_events(operation_id, after)
                    return
            except OUTAGES as error:
                pause = outage.pause_after(error)
            else:
                pause = RECONNECT_SECONDS
            time.sleep(pause if decoder.retry_seconds is None else decoder.retry_seconds)

    def targets(self) -> Iterator[Target]:
        """The targets that are registered."""
        return self._transport.pages(self._calls.targets)

    def target(self, name: str) -> Target:
        """One target. Raises NotFound."""
        return self._transport.send(self._calls.target(name))

    def put_target(
        self,
        name: str,
        uri: str,
        *,
        settings: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        credentials: str | None = None,
        key: str | None = None,
    ) -> Target:
        """Register a target, or change it. ``credentials`` is a reference (``env:NAME``, ``file:PATH``), no secret."""
        given: dict[str, Any] = {
            "uri": uri,
            "settings": None if settings is None else dict(settings),
            "limits": None if limits is None else dict(limits),
            "credentials": credentials,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return self._transport.send(self._calls.put_target(name, body, key=key))

    def delete_target(self, name: str, *, key: str | None = None) -> None:
        """Take a target off the register; what it serves is left alone."""
        self._transport.send(self._calls.delete_target(name, key=key))

    def check_target(self, name: str, *, key: str | None = None) -> Check:
        """Have a worker reach the target with its credentials, and give what it found."""
        return self._transport.send(self._calls.check_target(name, key=key))

    def target_help(self, name: str) -> str:
        """What can be configured on this target, as text."""
        return self._transport.send(self._calls.target_help(name))

    def close(self) -> None:
        """Give back the connections. Twice is the same as once."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, operation_id: str, after: int, decoder: Decoder, outage: Outage) -> Iterator[Event]:
        for chunk in self._transport.stream(self._calls.event_stream(operation_id, after)):
            outage.over()
            for message in decoder.feed(chunk):
                yield from answers.new_event(message, after)

    def _rest_of_events(self, operation_id: str, after: int) -> Iterator[Event]:
        for event in self._transport.pages(lambda token: self._calls.events(operation_id, token)):
            if event.number > after:
                yield event

    def _bound(self, found: B) -> B:
        found._client = self
        return found
