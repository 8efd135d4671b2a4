"""The ``http`` target against a platform that keeps its contract, and has every fault that a platform may have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import (
    Answer,
    Conflict,
    Denied,
    Fence,
    Handle,
    Permanent,
    Place,
    Progress,
    Request,
    Seen,
    Spec,
    Temporary,
    Toward,
    Unreachable,
    Variant,
)
from adapters.http.adapter import HttpAdapter, open_adapter
from adapters.http.describe import DESCRIPTION
from adapters.http.invoke import invoke
from tests.adapters.conformance import Conformance
from tests.adapters.harness import INSTALLATION, Count, change, drive, eventually, look, new_name, through_json
from tests.fakes.platform import Platform

SECRET = "s3cr3t-token"


class HttpHarness:
    """A fake platform's state of this test's own, in one process for all of them."""

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights in the cellar"
    deadline_seconds = 30.0

    def __init__(self, platform: Platform, **place: Any) -> None:
        self.platform = platform
        self.place = Place(
            **{
                "name": "inhouse",
                "uri": platform.url,
                "installation": INSTALLATION,
                "folder": "",
                "settings": {"look_seconds": 0.02},
                "call_timeout_seconds": 5.0,
                **place,
            }
        )
        self._opened: list[HttpAdapter] = []

    def open(self) -> HttpAdapter:
        self._opened.append(open_adapter(self.place))
        return self._opened[-1]

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def spec(self, which: str) -> Spec:
        return Spec((_variant("main", which),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        return Spec((_variant("a", "a"), _variant("b", "b")), {"a": a, "b": b})

    def broken(self) -> Spec:
        return Spec(
            (Variant("main", "models:/broken/1", None, {"platform": {"fails": self.failure_words}}),), {"main": 100}
        )

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10.0)
        return str(json.loads(answer.body)["predictions"][0])

    def count(self) -> Count:
        counts = self.platform.counts()
        calls = counts["calls"]
        effects = sum(sum(each.values()) for each in counts["effects"].values()) + sum(counts["deletions"].values())
        return Count(sum(calls.values()), calls.get("PUT", 0) + calls.get("DELETE", 0), effects)

    def things(self, name: str) -> set[str]:
        return {name} if self.occupant(name) is not None else set()

    def occupy(self, name: str) -> Any:
        body = {
            "owner": {"installation": "another", "uid": "x"},
            "content": "theirs",
            "variants": [{"name": "main", "model_uri": "models:/theirs/1"}],
            "traffic": {"main": 100},
        }
        self.platform.request("PUT", f"/deployments/{name}", body).raise_for_status()
        return eventually(lambda: self.occupant(name), lambda there: there["status"] == "serving")

    def occupant(self, name: str) -> Any:
        response = self.platform.request("GET", f"/deployments/{name}")
        return None if response.status_code == 404 else response.json()

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.platform.faults(*({"kind": "drop_after", "verb": verb, "count": None} for verb in ("PUT", "DELETE")))
        try:
            yield
        finally:
            self.platform.faults()


def _variant(name: str, model: str) -> Variant:
    return Variant(name, f"models:/{model}/1", None, {"replicas": 2})


@pytest.fixture(scope="module")
def running() -> Iterator[Platform]:
    with Platform(seconds=0.1) as platform:
        yield platform


@pytest.fixture
def platform(running: Platform) -> Platform:
    running.reset()
    return running


@pytest.fixture(params=[{"looks": 2}, {"looks": 2, "delete_seconds": 1, "shows_ended": False}], ids=["prompt", "terse"])
def harness(request: pytest.FixtureRequest, platform: Platform) -> Iterator[HttpHarness]:
    platform.conduct(**request.param)
    harness = HttpHarness(platform)
    yield harness
    harness.close()


class TestHttp(Conformance):
    pass


class Life:
    """One deployment and what the core would have on record of it."""

    def __init__(self, target: HttpHarness) -> None:
        self.target, self.adapter = target, target.open()
        self.name = new_name()
        self.uid = f"uid-{self.name}"
        self.current: Spec | None = None
        self.fence = 0

    def plan(self, desired: Spec | None) -> Handle:
        return through_json(self.adapter.plan(change(self.name, self.current, desired)))

    def step(self, handle: Handle, toward: Toward = "forward", seen: Seen | None = None) -> Progress:
        self.fence += 1
        seen = seen or look(self.target, self.adapter, handle)
        progress = self.adapter.step(handle, seen, toward, Fence(self.fence))
        return replace(progress, handle=through_json(progress.handle))

    def bring(self, handle: Handle, toward: Toward = "forward") -> Progress:
        progress = drive(self.target, handle, toward, adapter=self.adapter).progress
        assert progress is not None
        return progress

    def settle(self, desired: Spec | None) -> Progress:
        progress = Progress(self.plan(desired), "again")

        def step() -> Progress:
            nonlocal progress
            progress = self.step(progress.handle)
            return progress

        eventually(step, lambda taken: taken.outcome != "again")
        assert progress.outcome == "done", progress.message
        self.current = desired
        return progress

    def served(self) -> dict[str, Any] | None:
        """What serves by the platform's own account."""
        there = self.target.occupant(self.name)
        return {key: there[key] for key in ("content", "variants", "traffic")} if there else None

    def creations(self) -> int:
        return int(self.target.platform.counts()["creations"].get(self.name, 0))

    def effects(self) -> list[int]:
        return list(self.target.platform.counts()["effects"][self.name].values())


Another = Callable[..., HttpHarness]


@pytest.fixture
def another(platform: Platform) -> Iterator[Another]:
    """Makes targets of the same platform, registered otherwise."""
    made: list[HttpHarness] = []

    def make(**place: Any) -> HttpHarness:
        made.append(HttpHarness(platform, **place))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def target(platform: Platform) -> Iterator[HttpHarness]:
    harness = HttpHarness(platform)
    yield harness
    harness.close()


@pytest.fixture
def life(target: HttpHarness) -> Life:
    return Life(target)


def begun(life: Life, which: str = "a") -> Progress:
    """A change that is under way."""
    progress = life.step(life.plan(life.target.spec(which)))
    assert progress.outcome == "again"
    return progress


def test_a_lower_fence_is_refused_without_effect(platform: Platform, life: Life, target: HttpHarness) -> None:
    life.fence = 7
    life.settle(target.spec("a"))
    served = life.served()
    life.fence = 3

    with pytest.raises(Temporary, match=r"^a newer worker holds this deployment$"):
        life.step(life.plan(target.spec("b")))

    assert life.served() == served


def test_a_fence_outlives_the_deployment(platform: Platform, life: Life, target: HttpHarness) -> None:
    life.fence = 7
    life.settle(target.spec("a"))
    life.settle(None)
    life.fence = 3

    with pytest.raises(Temporary, match="newer worker"):
        life.step(life.plan(target.spec("a")))


def test_what_changed_since_the_look_is_looked_at_again(life: Life, target: HttpHarness) -> None:
    old = look(target, life.adapter, life.plan(target.spec("b")))
    life.settle(target.spec("a"))

    with pytest.raises(Temporary, match="changed since"):
        life.step(life.plan(target.spec("b")), seen=old)


def test_retry_after_of_a_refusal_is_kept(platform: Platform, life: Life, target: HttpHarness) -> None:
    platform.faults({"kind": "throttled", "verb": "PUT", "retry_after": 7})

    with pytest.raises(Temporary) as raised:
        life.step(life.plan(target.spec("a")))

    assert raised.value.retry_in == 7


def test_retry_after_is_capped(another: Another, platform: Platform) -> None:
    target = another(settings={"retry_after_cap_seconds": 9})
    platform.faults({"kind": "unavailable", "verb": "PUT", "retry_after": 86400})

    with pytest.raises(Temporary) as raised:
        Life(target).step(Life(target).plan(target.spec("a")))

    assert raised.value.retry_in == 9


def test_retry_after_of_an_accepted_write_paces_the_looks(platform: Platform, life: Life) -> None:
    platform.conduct(retry_after=3)
    platform.faults({"kind": "stuck", "verb": "PUT"})

    progress = begun(life)

    assert progress.again_in == 3
    assert life.step(progress.handle).again_in == 3


def test_redirects_are_not_followed(platform: Platform, life: Life, target: HttpHarness) -> None:
    elsewhere = f"{platform.url}/deployments/elsewhere"
    platform.faults({"kind": "redirect", "verb": "PUT", "message": elsewhere})

    with pytest.raises(Permanent, match=r"redirects to .*/deployments/elsewhere, which is not followed"):
        life.step(life.plan(target.spec("a")))

    assert [call["name"] for call in platform.log("PUT")] == [life.name]


def test_many_are_looked_at_in_pages_of_one_list(platform: Platform, target: HttpHarness) -> None:
    platform.conduct(page_size=2, seconds=0)
    lives = [Life(target) for _ in range(5)]
    for life in lives:
        life.settle(target.spec("a"))
    before = platform.counts()["calls"]

    seen = target.open().look_many({life.name: life.plan(target.spec("a")) for life in lives})

    after = platform.counts()["calls"]
    assert not any(answer.needs_write for answer in seen.values() if isinstance(answer, Seen))
    assert (after["LIST"] - before.get("LIST", 0), after["GET"]) == (3, before["GET"])


def test_observing_goes_through_all_pages(platform: Platform, target: HttpHarness) -> None:
    platform.conduct(page_size=2, seconds=0)
    lives = [Life(target) for _ in range(5)]
    for life in lives:
        life.settle(target.spec("a"))

    assert {observed.uid for observed in target.open().observe_all()} == {life.uid for life in lives}


@pytest.mark.parametrize("source", ["env", "file"])
def test_credentials_are_read_when_they_are_used(
    another: Another, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    file = tmp_path / "token"
    target = another(credentials="env:PLATFORM_TOKEN" if source == "env" else f"file:{file}")
    for secret in (SECRET, "rotated"):
        platform.conduct(token=secret)
        monkeypatch.setenv("PLATFORM_TOKEN", secret)
        file.write_text(f"{secret}\n")
        assert target.open().check().startswith(platform.url)


def test_the_header_of_the_credentials_can_be_chosen(
    another: Another, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_TOKEN", SECRET)
    settings = {"auth_header": "X-Api-Key", "auth_scheme": ""}

    another(credentials="env:PLATFORM_TOKEN", settings=settings).open().check()

    sent = platform.log("LIST")[-1]["headers"]
    assert sent["x-api-key"] == SECRET
    assert "authorization" not in sent


def test_a_secret_that_the_platform_repeats_is_hidden(
    another: Another, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_TOKEN", SECRET)
    platform.faults({"kind": "denied", "verb": "LIST"})

    with pytest.raises(Denied, match=r"not allowed to Bearer \*\*\*") as raised:
        another(credentials="env:PLATFORM_TOKEN").open().check()

    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("env:NOT_SET_ANYWHERE", "env:NOT_SET_ANYWHERE"),
        ("file:/nowhere/token", "file:/nowhere/token"),
        (SECRET, "env:"),
    ],
)
def test_credentials_that_are_not_there(another: Another, platform: Platform, reference: str, told: str) -> None:
    with pytest.raises(Denied, match=told) as raised:
        another(credentials=reference).open().check()

    assert SECRET not in str(raised.value)
    assert platform.log() == []


@pytest.mark.parametrize("secret", [f"{SECRET}\nof two lines", f"{SECRET}é", f"{SECRET}\x7f", " \n"])
def test_a_secret_that_no_header_can_carry_is_not_shown(
    another: Another, platform: Platform, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("PLATFORM_TOKEN", secret)
    target = another(credentials="env:PLATFORM_TOKEN")
    request = Request(b"{}", "application/json")

    for call in (target.open().check, lambda: invoke(target.place, {"name": "iris"}, request, 5.0)):
        with pytest.raises(Denied, match=r"^credentials env:PLATFORM_TOKEN: it (holds characters|is empty)") as raised:
            call()
        assert SECRET not in str(raised.value)

    assert platform.log() == []


def test_an_address_with_a_password_is_refused(
    another: Another,
) -> None:
    with pytest.raises(Permanent) as raised:
        another(uri=f"http://me:{SECRET}@127.0.0.1/").open()

    assert SECRET not in str(raised.value)


def test_a_platform_that_is_not_there_is_temporary(
    another: Another,
) -> None:
    with pytest.raises(Temporary, match="could not be reached"):
        another(uri="http://127.0.0.1:1").open().check()


def test_a_call_takes_no_longer_than_its_limit(another: Another, platform: Platform) -> None:
    platform.conduct(latency=30)

    with pytest.raises(Temporary, match=r"no answer within 0\.2 s"):
        another(call_timeout_seconds=0.2).open().check()


def test_the_platforms_words_of_a_refusal_are_quoted_at_sane_length(
    platform: Platform, life: Life, target: HttpHarness
) -> None:
    platform.faults({"kind": "refused", "verb": "PUT", "message": "no such flavor: prolog. " + "x" * 5000})

    with pytest.raises(Permanent, match="answered 400: no such flavor: prolog") as raised:
        life.step(life.plan(target.spec("a")))

    assert len(str(raised.value)) < 600


def test_a_busy_platform_is_waited_for_and_asked_once(platform: Platform, life: Life, target: HttpHarness) -> None:
    life.settle(target.spec("a"))
    platform.conduct(seconds=0.3)
    begun(life, "b")
    platform.faults({"kind": "conflict", "verb": "PUT", "count": None})
    before = target.count().writes

    refused = life.step(life.plan(target.spec("c")))
    waiting = life.step(refused.handle)

    assert (refused.outcome, waiting.outcome) == ("again", "again")
    assert target.count().writes == before + 1
    assert life.bring(waiting.handle).outcome == "done"


def test_an_update_that_failed_leaving_nothing_healthy_is_put_back(
    platform: Platform, life: Life, target: HttpHarness
) -> None:
    life.settle(target.spec("a"))
    served = life.served()
    platform.faults({"kind": "fails", "verb": "PUT", "message": "out of memory"})
    failed = life.bring(life.plan(target.spec("b")))

    undone = life.bring(failed.handle, "back")

    assert (failed.outcome, failed.message, undone.outcome) == ("failed", "out of memory", "done")
    assert life.served() == served
    assert life.creations() == 1


@pytest.mark.parametrize("kind", ["stale", "not_found"])
def test_reads_that_lag_behind_cause_no_second_effect(
    platform: Platform, life: Life, target: HttpHarness, kind: str
) -> None:
    life.settle(target.spec("a"))
    handle = life.plan(target.spec("b"))
    handle = life.step(handle).handle
    platform.faults({"kind": kind, "verb": "GET", "count": 3})

    writes = target.count().writes
    assert life.bring(handle).outcome == "done"
    assert target.count().writes == writes
    assert life.creations() == 1
    assert life.effects() == [1, 1]


def test_an_undo_does_not_trust_a_read_from_before_the_change(
    platform: Platform, life: Life, target: HttpHarness
) -> None:
    life.settle(target.spec("a"))
    before = life.served()
    platform.faults({"kind": "stuck", "verb": "PUT"})
    handle = life.step(life.plan(target.spec("b"))).handle
    platform.faults({"kind": "stale", "verb": "GET", "count": 2})

    undone = life.bring(handle, "back")

    assert undone.outcome == "done"
    assert life.served() == before
    assert life.effects() == [2, 1]


def test_a_stale_read_after_a_lost_answer_causes_no_second_effect(
    platform: Platform, life: Life, target: HttpHarness
) -> None:
    handle = life.plan(target.spec("a"))
    with target.lose_answers(), pytest.raises(Temporary):
        life.step(handle)
    platform.faults({"kind": "stale", "verb": "GET", "count": 1})

    assert life.bring(handle).outcome == "done"
    assert life.effects() == [1]


def test_an_absence_that_was_a_flap_ends_no_delete(platform: Platform, life: Life, target: HttpHarness) -> None:
    life.settle(target.spec("a"))
    platform.faults({"kind": "not_found", "verb": "GET", "count": 1})

    life.settle(None)

    assert life.served() is None


def test_one_unreadable_deployment_does_not_hide_the_others(platform: Platform, target: HttpHarness) -> None:
    lives = [Life(target) for _ in range(2)]
    platform.faults({"kind": "unavailable", "verb": "GET", "name": lives[0].name, "count": None})

    seen = target.open().look_many({life.name: life.plan(target.spec("a")) for life in lives})

    assert isinstance(seen[lives[0].name], Temporary)
    assert isinstance(seen[lives[1].name], Seen)


def predict(target: HttpHarness, route: dict[str, Any], timeout: float = 10.0, **request: Any) -> Answer:
    return invoke(target.place, route, Request(b'{"inputs": [1]}', "application/json", **request), timeout)


def test_a_prediction_tells_its_variant(life: Life, target: HttpHarness) -> None:
    route = life.settle(target.split(0, 100)).route
    assert route is not None

    assert predict(target, route).variant == "b"
    pinned = predict(target, route, variant="a")
    assert (pinned.status, pinned.variant, json.loads(pinned.body)["variant"]) == (200, "a", "a")


def test_a_models_error_is_its_own_answer(platform: Platform, life: Life, target: HttpHarness) -> None:
    route = life.settle(target.spec("a")).route
    assert route is not None
    platform.conduct(model_status=400)

    answer = predict(target, route)

    assert (answer.status, json.loads(answer.body)) == (400, {"error": "the model raised ValueError"})


def test_predictions_carry_the_credentials(
    another: Another, platform: Platform, life: Life, target: HttpHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = life.settle(target.spec("a")).route
    assert route is not None
    monkeypatch.setenv("PLATFORM_TOKEN", SECRET)
    platform.conduct(token=SECRET)

    trusted = another(credentials="env:PLATFORM_TOKEN")

    assert predict(trusted, route, headers={"authorization": "Bearer the-callers-own"}).status == 200


def test_a_prediction_that_takes_too_long_is_unreachable(platform: Platform, life: Life, target: HttpHarness) -> None:
    route = life.settle(target.spec("a")).route
    assert route is not None
    platform.conduct(model_latency=30)

    with pytest.raises(Unreachable, match=r"within 0\.2 s") as raised:
        predict(target, route, timeout=0.2)

    assert raised.value.timed_out


def test_predictions_follow_no_redirect(platform: Platform, life: Life, target: HttpHarness) -> None:
    route = life.settle(target.spec("a")).route
    assert route is not None
    platform.faults({"kind": "redirect", "verb": "INVOKE", "message": "http://127.0.0.1:1/"})

    with pytest.raises(Unreachable, match="redirects"):
        predict(target, route)


def planted(platform: Platform, life: Life) -> Spec:
    """Something that is there without an owner, as the platform describes it."""
    variant = {"name": "main", "model_uri": "models:/theirs/1", "flavor": None, "replicas": 2, "platform": {}}
    platform.plant(life.name, [variant], {"main": 100})
    found = next(there for there in life.adapter.observe_all() if there.name == life.name)
    assert found.uid is None
    assert found.spec is not None
    return found.spec


def test_adopting_marks_what_has_no_owner_and_touches_nothing(platform: Platform, life: Life) -> None:
    spec = planted(platform, life)
    handle = life.adapter.plan(replace(change(life.name, None, spec), adopt=True))
    assert life.bring(handle).outcome == "done"
    found = next(there for there in life.adapter.observe_all() if there.name == life.name)
    assert found.uid == life.uid
    assert found.content == handle["content"]
    assert platform.counts()["effects"] == {}


def test_adopting_can_be_taken_back_without_touching_it(platform: Platform, life: Life) -> None:
    spec = planted(platform, life)
    handle = life.adapter.plan(replace(change(life.name, None, spec), adopt=True))
    assert life.bring(handle, "back").outcome == "done"
    assert life.target.occupant(life.name)["owner"] is None


def test_what_has_another_owner_is_not_adopted(life: Life, target: HttpHarness) -> None:
    target.occupy(life.name)
    handle = life.adapter.plan(replace(change(life.name, None, target.spec("a")), adopt=True))
    with pytest.raises(Conflict, match="another owner"):
        life.step(handle)
