"""The beginning of an operation: from claimed to having a handle, with no effect on the target yet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.orm import Session

from adapters.contract import Change, Conflict, Permanent, Spec
from operations import ledger, model_uris
from operations.clock import instant
from operations.ledger import Claim
from operations.models import Operation, Revision
from operations.problems import Refused
from operations.states import Kind, Lane, State
from worker.outcomes import Outcomes, problem
from worker.places import Opened
from worker.recorder import Recorder, note_failure

Planned = tuple[Spec | None, dict[str, object]]


class Beginning:
    """Begins operations for one process of the node ``worker``."""

    def __init__(self, recorder: Recorder, outcomes: Outcomes, worker: str) -> None:
        self._recorder = recorder
        self._outcomes = outcomes
        self._worker = worker

    def contest(self, claim: Claim, share: list[Operation], opened: Opened) -> list[Operation]:
        """Mark what was taken over: a call of the lost worker may still land. Returns what need not wait for that."""
        timeout = opened.place.call_timeout_seconds
        compares = opened.description.capabilities.has_preconditions

        def mark(session: Session, operation: Operation) -> None:
            if compares:
                operation.deployment.fence_floor = operation.fence
            else:
                operation.deployment.contested_until = claim.at + timeout
            ledger.note(session, operation, "taken over from a worker that fell silent", by=self._worker)

        def wait(session: Session, operation: Operation) -> None:
            until = operation.deployment.contested_until or claim.at
            reason = "calls of a lost worker that may still be under way"
            self._outcomes.postponed(session, operation, wait=max(0.0, until - claim.at), reason=reason)

        # a node that only looks had no write under way
        taken = [o for o in share if o.id in claim.taken_over and o.writes and o.lane != Lane.LOOK]
        if taken:
            marked = {o.id: o for o in self._recorder.record_all(claim, taken, mark)}
            share = [marked.get(o.id, o) for o in share if o.id in marked or o not in taken]
        contested = [o for o in share if o.state == State.QUEUED and (o.deployment.contested_until or 0.0) > claim.at]
        if contested:
            self._recorder.record_all(claim, contested, wait)
        return [o for o in share if o not in contested]

    def begin(self, claim: Claim, share: list[Operation], opened: Opened) -> list[Operation]:
        """Bring what has no handle yet to the point where it has one. Returns what can be driven further."""
        new = [o for o in share if o.handle is None]
        # where planning takes no time, starting and planning are one record
        quick = [o for o in new if o.kind != Kind.ADOPT and not opened.description.capabilities.resolves_models]
        slow = [o for o in new if o not in quick]
        begun = self._keep(claim, quick, self._plans(quick, opened)) if quick else []
        if slow:
            started = self._recorder.record_all(claim, slow, self._start)
            started = [o for o in started if o.state == State.STARTING and o.leased_by]
            begun += self._keep(claim, started, self._plans(started, opened))
        return [o for o in share if o.handle is not None] + begun

    def _plans(self, operations: list[Operation], opened: Opened) -> dict[str, Planned | Exception]:
        def plan(operation: Operation) -> Planned | Exception:
            try:
                return self._plan(operation, opened)
            except Exception as error:
                note_failure(error, operation)
                return error

        with ThreadPoolExecutor(opened.width(len(operations)), thread_name_prefix="plan") as pool:
            return dict(zip([o.id for o in operations], pool.map(plan, operations), strict=True))

    def _keep(
        self, claim: Claim, operations: list[Operation], plans: dict[str, Planned | Exception]
    ) -> list[Operation]:
        def keep(session: Session, operation: Operation) -> None:
            self._start(session, operation)
            if operation.state != State.STARTING:
                return
            planned = plans[operation.id]
            if isinstance(planned, Exception):
                self._outcomes.failed(session, operation, planned)
                return
            resolved, operation.handle = planned
            if resolved is not None and operation.kind == Kind.ADOPT:
                _keep_found(session, operation, resolved)
            elif operation.desired is not None and resolved is not None:
                operation.desired.resolved = resolved.to_json()

        kept = self._recorder.record_all(claim, operations, keep)
        return [o for o in kept if o.handle is not None]

    def _start(self, session: Session, operation: Operation) -> None:
        if operation.state != State.QUEUED:
            return
        deployment = operation.deployment
        at = instant(session)
        operation.started_at = at
        operation.deadline_at = at + operation.deadline_seconds
        operation.from_id = deployment.current_id
        if operation.cancelled_by:
            ledger.move(session, operation, State.CANCELLED, message="cancelled before it started", by=self._worker)
        elif operation.relative and operation.base_id != deployment.current_id:
            error = problem(
                "base-changed",
                "What this builds on did not come to be",
                "it was asked for relative to a revision that does not serve; look at the deployment and ask again",
            )
            operation.error = error
            ledger.move(session, operation, State.FAILED, message=error["detail"], by=self._worker)
        elif operation.kind == Kind.CREATE and deployment.current_id is not None:
            error = problem(
                "deployment-exists", "The deployment exists", "the delete before this create failed; it still serves"
            )
            operation.error = error
            ledger.move(session, operation, State.FAILED, message=error["detail"], by=self._worker)
        else:
            ledger.move(session, operation, State.STARTING, by=self._worker)

    def _plan(self, operation: Operation, opened: Opened) -> tuple[Spec | None, dict[str, object]]:
        deployment = operation.deployment
        desired = None
        if operation.kind == Kind.ADOPT:
            desired = _found(operation, opened)
        elif operation.desired is not None:
            known = operation.desired.resolved
            desired = Spec.from_json(known) if known else _resolved(Spec.from_json(operation.desired.spec), opened)
            _check_models(desired, opened)
        current = deployment.current
        change = Change(
            installation=opened.place.installation,
            uid=deployment.id,
            name=deployment.name,
            current=Spec.from_json(current.resolved or current.spec) if current else None,
            desired=desired,
            placed=deployment.placed,
            adopt=operation.kind == Kind.ADOPT,
            labels=deployment.labels,
        )
        return desired, opened.adapter.plan(change)


def _resolved(asked: Spec, opened: Opened) -> Spec:
    # what was accepted may have been accepted under other settings
    _check_models(asked, opened)
    return opened.adapter.resolve(asked)


def _check_models(spec: Spec, opened: Opened) -> None:
    """What is read from this machine's disk lies where models may be, links followed. Raises Permanent."""
    names = opened.description.capabilities.names_models
    try:
        model_uris.check_at_use((variant.model_uri for variant in spec.variants), names=names)
    except Refused as refused:
        raise Permanent(f"{refused.detail}; {refused.errors[0].remedy}") from None


def _found(operation: Operation, opened: Opened) -> Spec:
    name, uid = operation.deployment.name, operation.deployment.id
    found = next((o for o in opened.adapter.observe_all() if o.name == name), None)
    if found is None or found.spec is None:
        raise Permanent(f"{opened.place.name} has nothing of the name {name} that can be adopted")
    if found.uid not in {None, uid}:
        raise Conflict(f"{name} bears the mark of another installation or deployment ({found.uid})")
    return found.spec


def _keep_found(session: Session, operation: Operation, spec: Spec) -> None:
    deployment = operation.deployment
    if operation.desired_id is None:
        deployment.last_revision += 1
        document = spec.to_json()
        revision = Revision(
            deployment_id=deployment.id, number=deployment.last_revision, spec=document, resolved=document
        )
        session.add(revision)
        session.flush()
        operation.desired_id = revision.id
        operation.desired = revision
