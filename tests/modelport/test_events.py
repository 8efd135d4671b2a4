from __future__ import annotations

import pytest

import modelport
from modelport.client import Client
from modelport.sse import Decoder, Message
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane_records import FAILURE


def test_events_come_in_order_until_the_end(client: Client) -> None:
    operation = client.create("local", "iris", model_uri="m:/1")
    assert [(event.number, event.state) for event in operation.events()] == [
        (1, "queued"),
        (2, "starting"),
        (3, "waiting"),
        (4, "succeeded"),
    ]


def test_a_cut_stream_is_taken_up_where_it_broke(plane: ControlPlane, client: Client) -> None:
    operation = client.create("local", "iris", model_uri="m:/1")
    plane.cuts.extend([0, 2, 1])
    assert [event.number for event in operation.events()] == [1, 2, 3, 4]
    streams = [sent for sent in plane.requests if sent.path.endswith("/events")]
    assert [sent.headers.get("Last-Event-ID") for sent in streams] == [
        None,
        None,
        f"{operation.id}:2",
        f"{operation.id}:3",
    ]


def test_events_go_on_after_a_number(client: Client) -> None:
    operation = client.create("local", "iris", model_uri="m:/1")
    operation.wait(timeout=60)
    assert [event.number for event in client.events(operation.id, after=2)] == [3, 4]


def test_nothing_is_left_to_tell_of_an_operation_that_has_ended(plane: ControlPlane, client: Client) -> None:
    operation = client.create("local", "iris", model_uri="m:/1")
    operation.wait(timeout=60)
    plane.empty_streams = True
    assert list(client.events(operation.id, after=4)) == []


def test_events_of_what_does_not_exist(client: Client) -> None:
    with pytest.raises(modelport.NotFound):
        list(client.events("00000000-0000-7000-8000-000000000000"))


def test_events_of_a_failed_operation_end_too(plane: ControlPlane, client: Client) -> None:
    plane.script = FAILURE
    operation = client.create("local", "iris", model_uri="m:/1")
    assert [event.state for event in operation.events()][-1] == "failed"


def test_a_stream_that_stays_broken_is_given_up(plane: ControlPlane) -> None:
    with Client(plane.url, outage_seconds=0.0) as client:
        operation = client.create("local", "iris", model_uri="m:/1")
        plane.fail_next(drop="before")
        with pytest.raises(modelport.Unreachable):
            list(operation.events())


STREAM = (
    "retry: 250\r\n: comment\r\nid: op:1\r\ndata: one ü\r\ndata:two\r\n\r\nevent: end\ndata: x\u2028y\n\ndata: cut"
).encode()
MESSAGES = [Message("op:1", "message", "one ü\ntwo"), Message("op:1", "end", "x\u2028y")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_the_decoder_reads_a_stream_cut_anywhere(size: int) -> None:
    decoder = Decoder()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == MESSAGES
    assert decoder.retry_seconds == 0.25
