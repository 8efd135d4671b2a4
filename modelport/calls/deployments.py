"""Deployments: submissions, reads, predictions, logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelport import answers
from modelport.calls.reading import Reading
from modelport.calls.request import (
    Call,
    D,
    Match,
    O,
    Pages,
    Specification,
    get,
    pages,
    pairs,
    path,
    specification,
    submit,
)
from modelport.types import Prediction, Revision


class DeploymentCalls(Reading[D, O]):
    """The routes under ``/v1/deployments``."""

    def create(
        self, target: str, name: str, given: Specification, *, on_conflict: str | None, key: str | None
    ) -> Call[O]:
        """POST /v1/deployments."""
        body = {"target": target, "name": name, **specification(given)}
        query = {"on_conflict": on_conflict}
        return submit("POST", path("deployments"), self._operation, body=body, query=query, key=key)

    def apply(self, target: str, name: str, given: Specification, *, if_match: Match, key: str | None) -> Call[O | D]:
        """PUT a deployment: create or change."""
        where = path("deployments", target, name)
        return submit("PUT", where, self._either, body=specification(given), if_match=if_match, key=key)

    def update(self, target: str, name: str, given: Specification, *, if_match: Match, key: str | None) -> Call[O | D]:
        """PATCH a deployment."""
        where = path("deployments", target, name)
        return submit("PATCH", where, self._either, body=specification(given), if_match=if_match, key=key)

    def delete(self, target: str, name: str, *, cancel_pending: bool, if_match: Match, key: str | None) -> Call[O]:
        """DELETE a deployment."""
        query = {"cancel_pending": "true" if cancel_pending else None}
        where = path("deployments", target, name)
        return submit("DELETE", where, self._operation, query=query, if_match=if_match, key=key)

    def rollback(
        self, target: str, name: str, *, revision: int | None, if_match: Match, key: str | None
    ) -> Call[O | D]:
        """POST a rollback; without a revision, to the one that served before."""
        body = {} if revision is None else {"revision": revision}
        where = path("deployments", target, name, "rollback")
        return submit("POST", where, self._either, body=body, if_match=if_match, key=key)

    def traffic(
        self, target: str, name: str, traffic: Mapping[str, int], *, if_match: Match, key: str | None
    ) -> Call[O | D]:
        """PUT the traffic."""
        where = path("deployments", target, name, "traffic")
        return submit("PUT", where, self._either, body={"traffic": dict(traffic)}, if_match=if_match, key=key)

    def reconcile(self, target: str, name: str, *, key: str | None) -> Call[O]:
        """POST a reconcile."""
        return submit("POST", path("deployments", target, name, "reconcile"), self._operation, key=key)

    def adopt(self, target: str, name: str, *, labels: Mapping[str, str] | None, key: str | None) -> Call[O]:
        """POST an adopt."""
        body = {"name": name, "labels": dict(labels or {})}
        return submit("POST", path("targets", target, "adopt"), self._operation, body=body, key=key)

    def get(self, target: str, name: str) -> Call[D]:
        """GET a deployment."""
        return get(path("deployments", target, name), self._deployment)

    def list(
        self, *, target: str | None, labels: Mapping[str, str] | None, status: str | None, page_size: int | None
    ) -> Pages[D]:
        """GET deployments."""
        wanted = [f"{name}={value}" for name, value in (labels or {}).items()]
        query = {"target": target, "label": wanted, "status": status, "page_size": page_size}
        return pages(path("deployments"), self._deployments, query)

    def revision(self, target: str, name: str, number: int) -> Call[Revision]:
        """GET a revision."""
        return get(path("deployments", target, name, "revisions", str(number)), answers.one(Revision))

    def revisions(self, target: str, name: str, *, page_size: int | None) -> Pages[Revision]:
        """GET revisions."""
        where = path("deployments", target, name, "revisions")
        return pages(where, answers.page(Revision), {"page_size": page_size})

    def logs(self, target: str, name: str, *, variant: str | None, lines: int | None) -> Call[str]:
        """GET the last lines that the model's servers wrote."""
        return get(path("deployments", target, name, "logs"), answers.text, {"variant": variant, "lines": lines})

    def predict(
        self, target: str, name: str, data: Any, *, variant: str | None, content_type: str | None
    ) -> Call[Prediction]:
        """``data``: bytes and text are passed on untouched, anything else as JSON. Not repeatable: models may count."""
        if isinstance(data, bytes | str):
            content = data.encode() if isinstance(data, str) else data
        else:
            content = json.dumps(data).encode()
        return Call(
            "POST",
            path("deployments", target, name, "predict"),
            answers.prediction,
            query=pairs({"variant": variant}),
            headers={"Content-Type": content_type or "application/json"},
            content=content,
            repeatable=False,
        )

    def predict_stream(
        self, target: str, name: str, data: Any, *, variant: str | None, content_type: str | None
    ) -> Call[None]:
        """As ``predict``, for an answer that is read while it comes; reading it only tells whether there is one."""
        call = self.predict(target, name, data, variant=variant, content_type=content_type)
        return Call(
            call.method,
            call.path,
            answers.stream_of_model,
            query=call.query,
            headers={**call.headers, "Accept": "text/event-stream, application/json;q=0.5"},
            content=call.content,
            repeatable=False,
        )
