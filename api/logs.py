"""What a deployment's model servers wrote, as a worker reads it on the target."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from api import asking
from api.body import StrictRoute
from api.problems import responses
from api.requests import Who
from api.submitting import PathName, PreferHeader, description_of
from operations import queries, questions, targets
from operations.access import Principal
from operations.database import database
from operations.models import QuestionKind
from operations.problems import CheckUnanswered, InvalidField, LogsUnavailable, NotServing, NotSupportedByTarget

router = APIRouter(prefix="/v1/deployments", tags=["deployments"], route_class=StrictRoute)

# models print what they like, secrets too: no cache keeps it, and no browser takes it for a page
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
LINES, LINES_MAX = 200, 10_000


@router.get(
    "/{target}/{name}/logs", response_class=PlainTextResponse, responses=responses(404, 409, 422, 502, 503, 504)
)
async def logs(
    target: PathName,
    name: PathName,
    request: Request,
    who: Who,
    variant: Annotated[str | None, Query(max_length=253, description="of this variant only")] = None,
    lines: Annotated[int, Query(ge=1, le=LINES_MAX, description="the last so many of each variant")] = LINES,
    prefer: PreferHeader = None,
) -> PlainTextResponse:
    """The last lines that the deployment's servers wrote; while it is created, those of the servers to be.

    Several variants have their names above their lines.
    """
    question_id = await run_in_threadpool(_ask, who, target, name, variant, lines)
    answer = await asking.answer(request, question_id, prefer)
    if answer is None:
        raise CheckUnanswered(f"no worker read the logs of {target}/{name} in time")
    if not answer.ok:
        raise LogsUnavailable(answer.text)
    return PlainTextResponse(answer.text, headers=HEADERS)


def _ask(who: Principal, target: str, name: str, variant: str | None, lines: int) -> str:
    with database().write() as session:
        row = targets.get(session, target)
        deployment = queries.get_deployment(session, row, name, who)
        if not description_of(row).capabilities.has_logs:
            raise NotSupportedByTarget.one("target", "this kind of target has no logs", NotSupportedByTarget.remedy)
        servers = questions.servers_of(session, deployment)
        if servers is None:
            raise NotServing(f"{target}/{name} has no servers yet")
        if variant is not None and variant not in servers.variants:
            remedy = f"The variants are: {', '.join(servers.variants)}." if servers.variants else "Leave it out."
            raise InvalidField.one("variant", f"{variant[:80]!r} is no variant", remedy)
        return asking.ask(session, QuestionKind.LOGS, row, deployment, variant=variant, lines=lines)
