"""Reading of what the shell gives: addresses, ``key=value`` pairs, traffic, files. Bad ones end as wrong usage."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

OPERATION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

DeploymentArgument = Annotated[str, typer.Argument(metavar="TARGET/NAME", help="The deployment, as in local/iris.")]
OperationArgument = Annotated[str, typer.Argument(metavar="OPERATION", help="The operation's id.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the operation has ended.")]
Timeout = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Stop waiting after this long (exit code 6); the operation goes on."),
]
IfMatch = Annotated[
    str | None,
    typer.Option(metavar="GENERATION", help="Only if the deployment is still of this generation, as show tells it."),
]


class Address(NamedTuple):
    """A deployment's target and name."""

    target: str
    name: str

    def __str__(self) -> str:
        return f"{self.target}/{self.name}"


def address(text: str) -> Address:
    """Reads ``TARGET/NAME``."""
    target, slash, name = text.partition("/")
    if not (target and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} should be TARGET/NAME, as in local/iris", param_hint="TARGET/NAME")
    return Address(target, name)


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """Reads several ``key=value``, whose values may be empty; a key given twice is refused."""
    found: dict[str, str] = {}
    for text in texts:
        key, value = _pair(text, option)
        if key in found:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint=option)
        found[key] = value
    return found


def traffic(texts: Iterable[str], option: str) -> dict[str, int]:
    """Reads ``a=80,b=20``, or several ``a=80``, as whole percent."""
    given = pairs((part for text in texts for part in text.split(",") if part.strip()), option)
    try:
        split = {name.strip(): int(percent.strip().removesuffix("%")) for name, percent in given.items()}
    except ValueError as error:
        raise typer.BadParameter("traffic is whole percent by variant, as in a=80,b=20", param_hint=option) from error
    if not split:
        raise typer.BadParameter("no traffic given; it looks like a=80,b=20", param_hint=option)
    return split


def config(file: Path | None, texts: Iterable[str]) -> dict[str, Any]:
    """The config of the file with the pairs laid over it: ``a.b=1`` goes inside ``a``, values are JSON or else text."""
    found = read_document(file, "--config-file") if file else {}
    for text in texts:
        key, value = _pair(text, "-C")
        _put(found, key.split("."), scalar(value), text)
    return found


def settings(texts: Iterable[str], option: str) -> dict[str, Any]:
    """Reads several ``key=value`` whose values are JSON or else text."""
    return {key: scalar(value) for key, value in pairs(texts, option).items()}


def scalar(text: str) -> Any:
    """The JSON that the text is, else the text."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def read_document(file: Path, option: str) -> dict[str, Any]:
    """The object in a YAML, JSON or TOML file; its name tells which."""
    from modelport import declared

    try:
        found = declared.documents(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint=option) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
    if len(found) != 1 or not isinstance(found[0], dict):
        raise typer.BadParameter(f"{file} should hold one object", param_hint=option)
    return dict(found[0])


def body(data: str | None) -> tuple[bytes, str]:
    """The bytes of a prediction and their content type, from JSON on the command line, ``@file`` or ``-``."""
    if data is None and sys.stdin.isatty():
        raise typer.BadParameter("give the input as JSON, as @file, or as - for standard input", param_hint="--data")
    if data is None or data == "-":
        return sys.stdin.buffer.read(), "application/json"
    if not data.startswith("@"):
        return data.encode(), "application/json"
    file = Path(data[1:])
    try:
        content = file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="--data") from error
    return content, "text/csv" if file.suffix.lower() == ".csv" else "application/json"


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{text!r} should be key=value", param_hint=option)
    return key, value


def _put(into: dict[str, Any], path: list[str], value: Any, text: str) -> None:
    *parents, last = path
    for part in parents:
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise typer.BadParameter(f"{text!r} goes inside {part!r}, which has a value already", param_hint="-C")
    if not all(path):
        raise typer.BadParameter(f"{text!r} has an empty part in its key", param_hint="-C")
    into[last] = value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
