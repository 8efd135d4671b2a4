"""Keys and the audit; for administrators."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from modelport import answers
from modelport.calls.reading import Reading
from modelport.calls.request import Call, D, O, Pages, get, pages, path
from modelport.types import AuditEntry, Document, Key, Keys, Verdict

M = TypeVar("M", bound=Document)


class SecurityCalls(Reading[D, O]):
    """The routes under ``/v1/keys`` and ``/v1/audit``."""

    def keys(self) -> Call[Keys]:
        """GET keys."""
        return get(path("keys"), answers.one(Keys))

    def create_key(self, name: str, grants: Sequence[Mapping[str, Any]], expires: dict[str, Any]) -> Call[Key]:
        """POST a key."""
        return _post(path("keys"), Key, {"name": name, "grants": [dict(grant) for grant in grants], **expires})

    def rotate_key(self, name: str, overlap_seconds: float | None, expires: dict[str, Any]) -> Call[Key]:
        """POST a rotation."""
        overlap = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        return _post(path("keys", name, "rotate"), Key, {**overlap, **expires})

    def revoke_key(self, name: str) -> Call[Keys]:
        """DELETE a key."""
        return Call("DELETE", path("keys", name), answers.one(Keys), repeatable=False)

    def audit(self, query: Mapping[str, str | int | None]) -> Pages[AuditEntry]:
        """GET the audit."""
        return pages(path("audit"), answers.page(AuditEntry), query)

    def verify_audit(self, head: str | None) -> Call[Verdict]:
        """POST a verification, which walks the whole chain."""
        call = _post(path("audit", "verify"), Verdict, {"head": head})
        return replace(call, repeatable=True, held_seconds=600.0)


def _post(where: str, model: type[M], body: dict[str, Any]) -> Call[M]:
    """Sent once: what it makes is a secret, which no idempotency key may keep."""
    headers = {"Content-Type": "application/json"}
    content = json.dumps(body).encode()
    return Call("POST", where, answers.one(model), headers=headers, content=content, repeatable=False)
