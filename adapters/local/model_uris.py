"""Model URIs as MLflow knows them, fixed to what they name now.

A path has no versions, so it is fixed by a fingerprint of its files in the URI's fragment, ``/models/churn#files=...``:
the same path with new files is another revision, and a server refuses to load what is no longer what was asked for.
Everything else MLflow is asked for, in one child process for all variants.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from adapters.contract import Denied, Permanent, Spec, Temporary, Variant
from adapters.local.interpreter import Interpreter
from adapters.local.launch import fingerprint

FLAVORS = (None, "python_function")


def fix(spec: Spec, interpreter: Interpreter, timeout: float) -> Spec:
    """The same specification with every model URI fixed. Blocks for at most ``timeout`` seconds; reads only.

    Raises Permanent or Denied, naming the variant and its URI, and Temporary when MLflow gave no answer in time.
    """
    for variant in spec.variants:
        if variant.flavor not in FLAVORS:
            raise Permanent(
                f"variant {variant.name}: flavor {variant.flavor!r} cannot be served here; MLflow's scoring server "
                "serves python_function, so leave the flavor out"
            )
    known = {variant.name: _fixed_path(variant) for variant in spec.variants}
    asked = {variant.name: variant.model_uri for variant in spec.variants if known[variant.name] is None}
    answers = _ask(asked, interpreter, timeout) if asked else {}
    return Spec(
        variants=tuple(
            Variant(v.name, known[v.name] or _accepted(v, answers[v.name]), v.flavor, v.config) for v in spec.variants
        ),
        traffic=spec.traffic,
    )


def _fixed_path(variant: Variant) -> str | None:
    """None for a URI that is MLflow's to resolve. Symbolic links are followed: they are a path's aliases."""
    text, _, expected = variant.model_uri.partition("#files=")
    parts = urlsplit(text)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(url2pathname(parts.path) if parts.scheme == "file" else text).expanduser().resolve()
    try:
        found = fingerprint(path)
    except OSError as error:
        raise Permanent(
            f"variant {variant.name}: {variant.model_uri} is no MLflow model on this machine: "
            f"{error.strerror} ({error.filename})"
        ) from error
    if expected and found != expected:
        raise Permanent(
            f"variant {variant.name}: the files of {text} are no longer those that the revision was made of; "
            "deploy the path itself again"
        )
    return f"{path}#files={found}"


def _ask(asked: dict[str, str], interpreter: Interpreter, timeout: float) -> dict[str, dict[str, str]]:
    ran = interpreter.run("resolve.py", timeout=timeout, stdin=json.dumps(asked))
    if ran.returncode != 0:
        raise Temporary(f"MLflow could not be asked for {', '.join(asked.values())}: {ran.last_words()}")
    answers: dict[str, dict[str, str]] = json.loads(ran.stdout)
    return answers


def _accepted(variant: Variant, answer: dict[str, str]) -> str:
    if "uri" in answer:
        return answer["uri"]
    error = {"permanent": Permanent, "denied": Denied}.get(answer["kind"], Temporary)
    raise error(f"variant {variant.name}: {variant.model_uri}: {answer['error']}")
