from __future__ import annotations

import inspect
import json
import re
from typing import Any

import httpx
import pytest

import modelport
from modelport import answers, errors
from operations import problems


def refused(status: int, document: dict[str, Any] | None = None, **headers: str) -> errors.Problem:
    content_type = {"Content-Type": "application/problem+json"} if document is not None else {}
    body = json.dumps(document).encode() if document is not None else b"<h1>Bad gateway</h1>"
    with pytest.raises(errors.Problem) as raised:
        answers.raise_for_problem(httpx.Response(status, content=body, headers={**content_type, **headers}))
    return raised.value


def test_a_problem_keeps_all_that_the_server_said() -> None:
    document = {
        "type": "/problems/invalid-request",
        "title": "The request is invalid",
        "status": 422,
        "detail": "1 error",
        "errors": [{"field": "variants[0].config.x", "message": "unknown key", "remedy": "remove it"}],
        "instance": "req-7",
    }
    problem = refused(422, document)
    assert type(problem) is errors.Invalid
    assert (problem.slug, problem.request_id, problem.document) == ("invalid-request", "req-7", document)
    assert problem.errors == (errors.FieldError("variants[0].config.x", "unknown key", "remove it"),)
    assert str(problem) == "The request is invalid: 1 error; variants[0].config.x: unknown key (remove it)"


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (400, "malformed", errors.Invalid),
        (401, "unauthorized", errors.Unauthorized),
        (403, "forbidden", errors.Forbidden),
        (404, "unknown-target", errors.NotFound),
        (409, "deployment-exists", errors.AlreadyExists),
        (409, "too-late", errors.TooLate),
        (409, "queue-full", errors.QueueFull),
        (409, "never-heard-of", errors.Conflict),
        (412, "stale", errors.Stale),
        (413, "too-large", errors.Invalid),
        (418, "teapot", errors.Problem),
        (422, "idempotency-key-reuse", errors.KeyReused),
        (428, "if-match-required", errors.MatchRequired),
        (429, "throttled", errors.Throttled),
        (500, "internal", errors.ServerError),
        (507, "never-heard-of", errors.ServerError),
    ],
)
def test_types_and_statuses_choose_the_exception(status: int, slug: str, kind: type[errors.Problem]) -> None:
    assert type(refused(status, {"type": f"/problems/{slug}", "title": "No"})) is kind


def test_an_answer_of_something_in_between_is_a_problem_without_a_type() -> None:
    problem = refused(502)
    assert type(problem) is errors.ServerError
    assert (problem.slug, problem.detail) == ("", "<h1>Bad gateway</h1>")


def test_an_error_entry_of_another_shape_does_not_hide_the_problem() -> None:
    assert refused(422, {"title": "No", "errors": ["strange", {}]}).errors[0].message == "strange"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    tree = inspect.cleandoc(errors.__doc__ or "").partition("::")[2].partition("Programs")[0]
    drawn = re.findall(r"^    ([│ ├└─]*)(\w+)", tree, flags=re.MULTILINE)
    parents: dict[int, str] = {}
    for bars, name in drawn:
        depth = len(bars) // 4
        parents[depth] = name
        if depth:
            assert getattr(errors, name).__bases__[0] is getattr(errors, parents[depth - 1]), name
    public = {name for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, Exception)}
    assert {name for _, name in drawn} == public


def test_every_refusal_of_the_server_has_its_exception() -> None:
    never_sent = {"method-not-allowed"}
    made = {slug: errors.problem(it.status, {"type": it("").type}) for slug, it in problems.kinds().items()}
    assert {slug for slug, problem in made.items() if type(problem) is errors.Problem} <= never_sent
    assert errors._BY_SLUG.keys() <= made.keys()


def test_every_exception_is_found_at_the_top() -> None:
    public = {name for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, Exception)}
    assert public <= set(modelport.__all__)
    assert all(getattr(modelport, name) is getattr(errors, name) for name in public)
