"""What the ``local`` target makes of model URIs, and what it does with a prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.contract import Permanent, Request, Unreachable
from adapters.local.invoke import invoke
from tests.adapters.local_target import LocalTarget, local_target


@pytest.fixture
def target(tmp_path: Path) -> Iterator[LocalTarget]:
    with local_target(tmp_path) as target:
        yield target


def test_the_same_path_with_other_files_is_another_revision(target: LocalTarget) -> None:
    before = target.spec(main=target.model("v1"))
    target.bring(before)

    after = target.spec(main=target.model("v1", answer="v1 trained again"))
    target.bring(after)

    assert after != before
    assert target.answer() == "v1 trained again"


def test_files_that_changed_after_they_were_resolved_are_not_served(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    target.model("v1", answer="something else")

    progress = target.bring(desired)

    assert progress.outcome == "failed"
    assert "no longer those" in progress.message


def test_a_symbolic_link_is_fixed_to_what_it_names(target: LocalTarget) -> None:
    model = target.model("v1")
    link = target.folder / "current"
    link.symlink_to(model)

    assert target.spec(main=str(link)) == target.spec(main=model)
    assert target.spec(main=link.as_uri()) == target.spec(main=model)


def test_resolving_twice_is_the_same_as_once(target: LocalTarget) -> None:
    once = target.spec(main=target.model("v1"))

    assert target.adapter.resolve(once) == once


def test_a_path_without_a_model_is_refused_by_name(target: LocalTarget) -> None:
    with pytest.raises(Permanent, match=r"variant main: /no/such/model is no MLflow model"):
        target.spec(main="/no/such/model")


def test_a_flavor_that_cannot_be_served_is_refused(target: LocalTarget) -> None:
    spec = target.spec(main=target.model("v1"))
    with pytest.raises(Permanent, match="flavor 'spark'"):
        target.adapter.resolve(replace(spec, variants=(replace(spec.variants[0], flavor="spark"),)))


def test_a_predictions_bytes_are_passed_on_untouched(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    body = bytes(range(256)) * 1000

    assert json.loads(target.predict(body=body).body)["received"].encode("latin-1") == body


def test_a_prediction_that_takes_too_long_is_given_up(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1", predict_seconds=30)))

    with pytest.raises(Unreachable) as given_up:
        invoke(target.place, target.route, Request(b"{}", "application/json"), 0.2)

    assert given_up.value.timed_out


def test_a_prediction_pinned_to_no_variant_names_those_there_are(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))

    with pytest.raises(Unreachable, match="there are: main"):
        target.predict("canary")
