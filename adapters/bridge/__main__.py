"""A plugin's own words and its local run: ``python -m adapters.bridge help|run-local TARGET ...``.

Both are the plugin's and need no service; what ``run-local`` starts is nobody's to manage.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from adapters.bridge import client
from adapters.bridge.installed import name_in, plugin_uri


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m adapters.bridge", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    told = commands.add_parser("help", help="what the plugin says about its config and its URIs")
    told.add_argument("target", help="the target's URI")
    local = commands.add_parser("run-local", help="the plugin's run_local; blocks as long as that does")
    local.add_argument("target", help="the target's URI")
    local.add_argument("--name", required=True)
    local.add_argument("--model-uri", required=True)
    local.add_argument("--flavor")
    local.add_argument("-C", "--config", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    uri = plugin_uri(given.target)
    if given.command == "help":
        print(client.target_help(name_in(uri)))  # noqa: T201  # a command's answer
    else:
        client.run_local(uri, given.name, given.model_uri, given.flavor, dict(map(_pair, given.config)))
    return 0


def _pair(text: str) -> tuple[str, Any]:
    """JSON where it is, and else text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
