from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

import modelport
from modelport.answers import retry_after_seconds
from modelport.client import Client
from modelport.repeating import Repeats
from tests.fakes.control_plane import ControlPlane


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_submission_whose_connection_broke_is_sent_again_and_takes_effect_once(
    plane: ControlPlane, client: Client, drop: str
) -> None:
    plane.fail_next(drop=drop)
    operation = client.create("local", "iris", model_uri="m:/1")
    assert plane.effects == 1
    assert list(plane.operations) == [operation.id]
    first, second = plane.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_every_submission_has_a_key_of_its_own(plane: ControlPlane, client: Client) -> None:
    client.apply("local", "iris", model_uri="m:/1")
    client.apply("local", "rose", model_uri="m:/1")
    first, second = plane.requests
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_a_key_may_be_given_and_is_refused_with_another_body(plane: ControlPlane, client: Client) -> None:
    first = client.create("local", "iris", model_uri="m:/1", key="nightly")
    assert client.create("local", "iris", model_uri="m:/1", key="nightly").id == first.id
    with pytest.raises(modelport.KeyReused):
        client.create("local", "iris", model_uri="m:/2", key="nightly")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(plane: ControlPlane, client: Client, status: int) -> None:
    plane.fail_next(status=status, headers={"Retry-After": "0"})
    client.delete_target("local")
    assert len(plane.requests) == 2


def test_our_servers_own_failure_is_asked_again_only_if_it_says_when(plane: ControlPlane, client: Client) -> None:
    ours = {"Content-Type": "application/problem+json"}
    plane.fail_next(status=504, headers=ours, body=b'{"type": "/problems/check-unanswered", "title": "No worker"}')
    with pytest.raises(modelport.ServerError, match="No worker"):
        client.check_target("local")
    assert len(plane.requests) == 1
    plane.fail_next(status=503, headers={**ours, "Retry-After": "0"}, body=b"{}")
    assert client.check_target("local").ok


def test_tries_are_bounded(plane: ControlPlane) -> None:
    with Client(plane.url, repeats=Repeats(limit=2, first_pause_seconds=0.001)) as client:
        for _ in range(5):
            plane.fail_next(status=503)
        with pytest.raises(modelport.ServerError):
            list(client.targets())
    assert len(plane.requests) == 3


def test_a_server_that_wants_a_long_pause_is_not_waited_for(plane: ControlPlane, client: Client) -> None:
    plane.fail_next(status=429, headers={"Retry-After": "3600"})
    with pytest.raises(modelport.Throttled) as refused:
        client.create("local", "iris", model_uri="m:/1")
    assert refused.value.retry_after == 3600
    assert len(plane.requests) == 1


@pytest.mark.parametrize("status", [400, 409, 422, 500])
def test_what_asking_again_cannot_help_is_asked_once(plane: ControlPlane, client: Client, status: int) -> None:
    plane.fail_next(status=status)
    with pytest.raises(modelport.Problem):
        client.create("local", "iris", model_uri="m:/1")
    assert len(plane.requests) == 1


def test_a_prediction_that_the_model_may_have_seen_is_not_sent_again(plane: ControlPlane, client: Client) -> None:
    client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    plane.requests.clear()
    plane.fail_next(drop="after")
    with pytest.raises(modelport.Unreachable):
        client.predict("local", "iris", {"inputs": [1]})
    plane.fail_next(status=503)
    with pytest.raises(modelport.ServerError):
        client.predict("local", "iris", {"inputs": [1]})
    assert len(plane.requests) == 2


def test_a_prediction_that_was_turned_away_is_sent_again(plane: ControlPlane, client: Client) -> None:
    client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    plane.fail_next(status=429, headers={"Retry-After": "0"})
    assert client.predict("local", "iris", {"inputs": [1]}).ok


def test_no_server_is_unreachable_and_names_the_url() -> None:
    with socket.socket() as bound:  # bound and never listening: nobody else gets the port, and nobody answers
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        quick = Repeats(first_pause_seconds=0.001)
        with Client(url, repeats=quick) as client, pytest.raises(modelport.Unreachable, match=url):
            client.get("local", "iris")


def test_an_answer_that_never_comes_is_unreachable(plane: ControlPlane, client: Client) -> None:
    plane.by_hand = True
    operation = client.create("local", "iris", model_uri="m:/1")
    held = replace(client._calls.operation(operation.id, wait_seconds=30), held_seconds=0.0)
    with Client(plane.url, timeout=0.1, repeats=Repeats(limit=0)) as hasty, pytest.raises(modelport.Unreachable):
        hasty._ask(held)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0)])
def test_retry_after_may_be_seconds(value: str, seconds: float) -> None:
    assert retry_after_seconds(httpx.Response(503, headers={"Retry-After": value})) == seconds


@pytest.mark.parametrize(("hours", "low", "high"), [(1, 3000, 3600), (-1, 0, 0)])
def test_retry_after_may_be_a_date(hours: int, low: float, high: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    seconds = retry_after_seconds(httpx.Response(503, headers={"Retry-After": date}))
    assert seconds is not None
    assert low <= seconds <= high


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}])
def test_retry_after_that_says_nothing(headers: dict[str, str]) -> None:
    assert retry_after_seconds(httpx.Response(503, headers=headers)) is None


def test_pauses_double_and_stay_under_the_longest() -> None:
    repeats = Repeats(limit=100, first_pause_seconds=1.0, longest_pause_seconds=8.0)
    ranges = [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (4.0, 8.0)]
    for tried, (low, high) in enumerate(ranges):
        assert low <= repeats._backoff(tried) <= high
