"""Deployments: what changes them, what reads them, and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Unpack

from modelport.blocking.driver import Driver
from modelport.blocking.handles import Deployment, Operation
from modelport.calls.request import Match, Specification
from modelport.types import Prediction, Revision

OnConflict = Literal["queue", "refuse", "supersede"]


class Deployments(Driver):
    """The methods that concern deployments."""

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
        return self._ask(self._calls.create(target, name, given, on_conflict=on_conflict, key=key))

    def apply(
        self, target: str, name: str, *, if_match: Match = None, key: str | None = None, **given: Unpack[Specification]
    ) -> Operation | Deployment:
        """Make the deployment be this, whether it is there or not.

        Gives the operation that does it, or the deployment where it is so already. Either has ``wait``.
        """
        return self._ask(self._calls.apply(target, name, given, if_match=if_match, key=key))

    def update(
        self, target: str, name: str, *, if_match: Match = None, key: str | None = None, **given: Unpack[Specification]
    ) -> Operation | Deployment:
        """Change only what is given; ``config`` and ``labels`` are merged key by key, and None removes a key."""
        return self._ask(self._calls.update(target, name, given, if_match=if_match, key=key))

    def delete(
        self, target: str, name: str, *, cancel_pending: bool = False, if_match: Match = None, key: str | None = None
    ) -> Operation:
        """Begin to delete; ``cancel_pending`` cancels what is under way or queued before it."""
        return self._ask(self._calls.delete(target, name, cancel_pending=cancel_pending, if_match=if_match, key=key))

    def rollback(
        self, target: str, name: str, *, revision: int | None = None, if_match: Match = None, key: str | None = None
    ) -> Operation | Deployment:
        """Go back to a revision, by default the one that served before this one."""
        return self._ask(self._calls.rollback(target, name, revision=revision, if_match=if_match, key=key))

    def traffic(
        self, target: str, name: str, traffic: Mapping[str, int], *, if_match: Match = None, key: str | None = None
    ) -> Operation | Deployment:
        """Split the traffic anew among the variants, in whole percent that sum to 100."""
        return self._ask(self._calls.traffic(target, name, traffic, if_match=if_match, key=key))

    def reconcile(self, target: str, name: str, *, key: str | None = None) -> Operation:
        """Bring the target back to the recorded revision after other hands changed it."""
        return self._ask(self._calls.reconcile(target, name, key=key))

    def adopt(
        self, target: str, name: str, *, labels: Mapping[str, str] | None = None, key: str | None = None
    ) -> Operation:
        """Take an existing deployment of the target under management; what serves is not touched."""
        return self._ask(self._calls.adopt(target, name, labels=labels, key=key))

    def get(self, target: str, name: str) -> Deployment:
        """One deployment. Raises NotFound."""
        return self._ask(self._calls.get(target, name))

    def list(
        self,
        *,
        target: str | None = None,
        labels: Mapping[str, str] | None = None,
        status: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Deployment]:
        """All deployments that have these labels, page after page as they are read."""
        return self._all(self._calls.list(target=target, labels=labels, status=status, page_size=page_size))

    def revision(self, target: str, name: str, number: int) -> Revision:
        """One revision. Raises NotFound."""
        return self._ask(self._calls.revision(target, name, number))

    def revisions(self, target: str, name: str, *, page_size: int | None = None) -> Iterator[Revision]:
        """The revisions of a deployment, the newest first."""
        return self._all(self._calls.revisions(target, name, page_size=page_size))

    def logs(self, target: str, name: str, *, variant: str | None = None, lines: int | None = None) -> str:
        """The last lines that the model's servers wrote, of one variant or of all."""
        return self._ask(self._calls.logs(target, name, variant=variant, lines=lines))

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
        return self._ask(call, timeout)

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

        Most models want to be asked for it, with ``"stream": true`` beside the input. An answer that comes as a whole
        is one piece. ``timeout`` is seconds for one piece. Raises ModelFailed.
        """
        call = self._calls.predict_stream(target, name, data, variant=variant, content_type=content_type)
        return self._each(self._flows.pieces(call, timeout))
