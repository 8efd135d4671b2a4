"""Inputs that people send, at random: nothing crashes, and nothing is taken that must be refused."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from hypothesis import HealthCheck, Phase, given, settings, strategies
from pydantic import StringConstraints, TypeAdapter, ValidationError

from api import body as bodies
from api.deployments import _labels
from api.submitting import KEY_PATTERN
from operations import model_uris, queries, specs
from operations.access import Grant, Permission, Principal, Role
from operations.disclosure import check
from operations.problems import Refused

RULES = specs.Rules("memory", 5, True, r"[a-z]+", 60.0, False, lambda document: document)
text = strategies.text(max_size=80)
pieces = strategies.lists(
    strategies.sampled_from(
        ["models:", "runs:", "s3:", "file:", "http:", "/", "//", "..", ".", "\\", "%2e", "%2f", "#", "?", "@", "a",
         "iris", "\u2025", "\uff0e", "etc", "passwd", " ", "\0", "~", ":", "MODELS:", "#files=0123456789ab"]
    ),
    max_size=9,
).map("".join)  # fmt: skip
tokens = (
    text
    | strategies.binary(max_size=60).map(lambda b: b.decode("latin-1"))
    | strategies.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True)
)
json_values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | strategies.integers() | text,
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def _page_tokens(token: str) -> None:
    kinds: Any
    for kinds in ((float, str), (int,)):
        try:
            key = queries.read_token(token, {"of": "x"}, *kinds)
        except Refused:
            continue
        assert [type(part) for part in key] == list(kinds)


def _made_tokens(value: tuple[float, str]) -> None:
    token = queries.make_token({"of": "x"}, value[0], value[1])
    for filters in ({"of": "y"}, {"of": "x", "more": 1}):
        try:
            queries.read_token(token, filters, float, str)
        except Refused:
            continue
        raise AssertionError("a token of another list was taken")


def _model_uris(uri: str) -> None:
    try:
        model_uris.check(uri)
    except Refused:
        return
    plain = unicodedata.normalize("NFKC", uri)
    assert not re.search(r"(^|/)\.\.?(/|$)|[\\%?\0]", plain), uri
    assert model_uris.FIXED.sub("", uri).count("#") == 0, uri
    path = model_uris.local_path(uri)
    if path is None:
        assert uri.split(":")[0] in {"models", "runs", "s3"}, uri
    else:
        assert model_uris._within(path, model_uris._roots()), uri


def _traffic(value: dict[str, int]) -> None:
    try:
        split = specs.split(RULES, ["a", "b", "c"], value)
    except Refused:
        return
    assert sum(split.values()) == 100
    assert list(split) == ["a", "b", "c"]
    assert all(0 <= share <= 100 for share in split.values())


# as FastAPI judges the header
_KEYS: TypeAdapter[str] = TypeAdapter(Annotated[str, StringConstraints(pattern=KEY_PATTERN)])


def _idempotency_keys(key: str) -> None:
    try:
        taken = _KEYS.validate_python(key)
    except ValidationError:
        return
    assert 1 <= len(taken) <= 255
    assert all("!" <= character <= "~" for character in taken)


def _selectors(pairs: list[str]) -> None:
    try:
        labels = _labels(pairs)
    except Refused:
        return
    assert all(re.match(r"^[A-Za-z0-9]", key) for key in labels)
    who = Principal("x", (Grant(Role.DEPLOYER, frozenset({"t"}), frozenset({("team", "a")})),))
    assert who.may(Permission.DEPLOY, "t", labels) == (labels.get("team") == "a")
    assert not who.may(Permission.DEPLOY, "u", labels)
    assert not who.may(Permission.ADMINISTER, "t", labels)


def _bodies(raw: bytes) -> None:
    try:
        document = bodies.read_json(raw)
    except Refused:
        return
    again = json.loads(json.dumps(document))
    assert again == document


def _configs(value: Any) -> None:
    with suppress(Refused):
        check({"x": value}, "config")


SUBJECTS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "page tokens": (tokens, _page_tokens),
    "tokens of other lists": (strategies.tuples(strategies.floats(0, 1e9), text), _made_tokens),
    "idempotency keys": (tokens | strategies.text("abc!~ \n\x7f", max_size=300), _idempotency_keys),
    "model URIs": (pieces | text, _model_uris),
    "traffic": (
        strategies.dictionaries(strategies.sampled_from("abcd") | text, strategies.integers(-10, 110), max_size=4),
        _traffic,
    ),
    "selectors": (strategies.lists(text | strategies.sampled_from(["team=a", "team=b", "="]), max_size=4), _selectors),
    "bodies": (strategies.binary(max_size=40) | json_values.map(lambda v: json.dumps(v).encode()), _bodies),
    "configs": (json_values, _configs),
}  # fmt: skip


def fuzz(examples: int) -> dict[str, int]:
    """Try each subject with so many inputs; how many were tried. Raises what crashed or was wrongly taken."""
    return {name: _fuzz(strategy, judge, examples) for name, (strategy, judge) in SUBJECTS.items()}


def _fuzz(strategy: Any, judge: Callable[[Any], None], examples: int) -> int:
    tried = 0

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(value=strategy)
    def one(value: Any) -> None:
        nonlocal tried
        tried += 1
        judge(value)

    one()
    return tried
