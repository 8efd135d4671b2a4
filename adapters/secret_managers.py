"""Secrets of AWS Secrets Manager: ``aws-secret:REGION/NAME``, or ``aws-secret:REGION/NAME#KEY`` for one key of a JSON.

Needs the extra ``sagemaker``, and a role of the process's own that may read the secret. What was read is believed for a
minute, so that predictions do not ask for it one by one; it is kept in memory only.
"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

from adapters.contract import Denied, Temporary

KNOWN_SECONDS = 60.0
CALL_SECONDS = 5.0
PLACE = re.compile(r"([a-z0-9-]{2,32})/([A-Za-z0-9/_+=.@:!-]{1,512})(?:#([^#]{1,128}))?")

_known: dict[str, tuple[float, str]] = {}
_lock = threading.Lock()


def from_aws(place: str) -> str:
    """The secret that ``REGION/NAME`` or ``REGION/NAME#KEY`` names. Blocks for seconds at most.

    Raises ``Denied`` where it is not there, not readable or not there for us, ``Temporary`` where nobody answered.
    """
    found = PLACE.fullmatch(place)
    if found is None:
        raise Denied(f"credentials aws-secret:{place}: it is not of the form REGION/NAME or REGION/NAME#KEY")
    region, name, key = found.groups()
    with _lock:
        until, secret = _known.get(f"{region}/{name}", (0.0, ""))
        if until < time.monotonic():
            secret = _asked(region, name)
            _known[f"{region}/{name}"] = (time.monotonic() + KNOWN_SECONDS, secret)
    return secret if key is None else _of_document(place, secret, key)


def forget() -> None:
    """Ask anew the next time."""
    with _lock:
        _known.clear()


def _asked(region: str, name: str) -> str:
    told = f"credentials aws-secret:{region}/{name}"
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    except ModuleNotFoundError:
        raise Denied(f"{told}: it needs boto3 in this process: pip install 'modelport[sagemaker]'") from None
    config = Config(connect_timeout=CALL_SECONDS, read_timeout=CALL_SECONDS, retries={"total_max_attempts": 1})
    try:
        client: Any = boto3.client("secretsmanager", region_name=region, config=config)
        return str(client.get_secret_value(SecretId=name)["SecretString"])
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        # the code alone: what the service says may quote what it was sent
        if "Throttl" in code or code.startswith("Internal"):
            raise Temporary(f"{told}: {code}") from None
        raise Denied(f"{told}: {code}") from None
    except NoCredentialsError:
        raise Denied(f"{told}: this process has no AWS role or keys of its own") from None
    except KeyError:
        raise Denied(f"{told}: it holds bytes and no text") from None
    except BotoCoreError as error:
        raise Temporary(f"{told}: {type(error).__name__}") from None


def _of_document(place: str, secret: str, key: str) -> str:
    try:
        return str(json.loads(secret)[key])
    except (ValueError, KeyError, TypeError):
        raise Denied(f"credentials aws-secret:{place}: the secret is no JSON object with this key") from None
