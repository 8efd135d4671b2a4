from __future__ import annotations

import pytest

from modelport import errors
from modelport.exits import REMEDIES, Exit, code_for, paragraph
from operations import problems


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (errors.problem(409, {"title": "Busy", "remedy": "Wait for it"}), Exit.REFUSED, "Error: Busy. Wait for it."),
        (errors.problem(412, {"type": "/problems/stale-generation"}), Exit.REFUSED, "modelport show"),
        (errors.problem(428, {"type": "/problems/precondition-required"}), Exit.REFUSED, "--if-match"),
        (
            errors.problem(
                422,
                {"title": "Bad", "detail": "a: is b", "errors": [{"field": "a", "message": "is b", "remedy": "do c"}]},
            ),
            Exit.REFUSED,
            "Error: Bad; a: is b (do c)",
        ),
        (errors.problem(401, {"title": "Who?"}), Exit.REFUSED, "MODELPORT_API_KEY"),
        (errors.problem(429, {"title": "Busy"}, retry_after=7.0), Exit.REFUSED, "Try again in 7 s."),
        (errors.problem(404, {"title": "Gone", "type": "/problems/x", "instance": "r"}), Exit.NOT_FOUND, "(request r)"),
        (errors.problem(404, {}), Exit.NOT_FOUND, "Is --url or MODELPORT_URL right?"),
        (errors.problem(500, {"title": "Bug"}), Exit.UNREACHABLE, "ask who runs the server"),
        (errors.problem(503, {"title": "No worker", "remedy": "Start one"}), Exit.UNREACHABLE, "Start one."),
        (errors.Unreachable("no answer"), Exit.UNREACHABLE, "Is the server running"),
        (errors.UnexpectedAnswer("<html>"), Exit.UNREACHABLE, "MODELPORT_URL"),
    ],
)
def test_every_error_has_its_code_and_its_remedy(error: errors.ModelportError, code: Exit, told: str) -> None:
    assert code_for(error) is code
    assert told in paragraph(error)
    assert "\n" not in paragraph(error)


def test_remedies_are_for_problems_that_the_server_has() -> None:
    assert REMEDIES.keys() <= problems.kinds().keys()
