"""References to secrets, resolved where they are used and never kept.

``env:NAME`` is an environment variable of the process that talks to the target, ``file:PATH`` a file that it can read,
``aws-secret:REGION/NAME`` a secret of AWS Secrets Manager that its role may read.
"""

from __future__ import annotations

import os
from pathlib import Path

from adapters.contract import Denied


def resolve(reference: str) -> str:
    """The secret that ``reference`` names now, without the white space around it; reads it anew each time.

    It may have several lines, as JSON files of cloud accounts have.

    Raises ``Denied`` saying what is wrong with the reference, never what the secret is.
    """
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        return _filled(reference, _from_environment(place))
    if kind == "file" and place:
        return _filled(reference, _from_file(Path(place)))
    if kind == "aws-secret" and place:
        from adapters import secret_managers

        return _filled(reference, secret_managers.from_aws(place))
    raise Denied(
        "the target's credentials are not a reference of the form env:NAME, file:PATH or aws-secret:REGION/NAME"
    )


def for_header(reference: str, secret: str) -> str:
    """The secret, which is to be a header's value. Raises ``Denied`` where it cannot be one, without quoting it.

    HTTP libraries quote a header's value when they refuse it, so that an odd secret would end up in an error.
    """
    if not (secret.isascii() and secret.isprintable()):
        raise Denied(f"credentials {reference}: it holds characters that cannot stand in a header")
    return secret


def redact(text: str, secret: str | None) -> str:
    """The text with the secret blotted out, for words that a target may have echoed."""
    return text.replace(secret, "***") if secret else text


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise Denied(f"credentials env:{name}: the variable is not set in this process; set it and restart") from None


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise Denied(f"credentials file:{path}: {reason}") from None


def _filled(reference: str, secret: str) -> str:
    secret = secret.strip()
    if not secret:
        raise Denied(f"credentials {reference}: it is empty")
    return secret
