"""What every command shares: the server it talks to, ``--json``, and how it ends when something goes wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from modelport import output
from modelport.errors import ModelportError, OperationFailed, Problem, WaitTimeout
from modelport.exits import Exit, code_for, paragraph

if TYPE_CHECKING:
    from modelport.async_client import AsyncClient
    from modelport.client import Client
    from modelport.connection import Connection

P = ParamSpec("P")

SHARED = {
    "url": Annotated[str | None, typer.Option(metavar="URL", help="The server's URL. Default: MODELPORT_URL.")],
    "api_key": Annotated[str | None, typer.Option(metavar="KEY", help="The API key. Default: MODELPORT_API_KEY.")],
    "profile": Annotated[str | None, typer.Option(metavar="NAME", help="A server that modelport config knows.")],
    "json": Annotated[bool, typer.Option("--json", help="Print the API's own JSON.")],
}


class Session:
    """One run of one command. The client is made, and its libraries are loaded, when it is first needed."""

    def __init__(self, url: str | None, api_key: str | None, profile: str | None, json: bool) -> None:
        self.json = json
        self.url = url
        self.api_key = api_key
        self.profile = profile

    @cached_property
    def client(self) -> Client:
        """The client of this run. Ends the command as wrong usage if the URL is none."""
        from modelport.client import Client

        with self._usable():
            return Client(self.url, self.api_key, profile=self.profile)

    def async_client(self) -> AsyncClient:
        """Another client, for an event loop; who asks for it closes it."""
        from modelport.async_client import AsyncClient

        with self._usable():
            return AsyncClient(self.url, self.api_key, profile=self.profile)

    @cached_property
    def connection(self) -> Connection:
        """Which server this run asks. Ends the command as wrong usage if the URL is none."""
        from modelport.connection import Connection

        with self._usable():
            return Connection.made_from(self.url, self.api_key, None, self.profile)

    @property
    def options(self) -> str:
        """What the commands that are named in hints need to reach the same server."""
        return self.connection.options

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--profile" if self.profile else "--url") from error

    def report(self, error: ModelportError) -> Exit:
        """Tell what went wrong: a paragraph for people aside and, with ``--json``, the document it came from."""
        if self.json:
            if isinstance(error, Problem) and error.document:
                output.print_json(error.document)
            elif isinstance(error, OperationFailed | WaitTimeout):
                output.print_json(error.operation.document)
        output.note(paragraph(error, options=self.options))
        return code_for(error)

    def close(self) -> None:
        """Give back the connections."""
        if "client" in self.__dict__:
            self.client.close()


Command = Callable[Concatenate[Session, P], None]


def command(app: typer.Typer, name: str) -> Callable[[Command[P]], Command[P]]:
    """Registers a function as a command that gets a session first and has the shared options last."""

    def register(function: Command[P]) -> Command[P]:
        def run(*, url: str | None, api_key: str | None, profile: str | None, json: bool, **given: Any) -> None:
            session = Session(url, api_key, profile, json)
            try:
                function(session, **given)  # type: ignore[call-arg]  # the signature below is the function's own
            except ModelportError as error:
                raise typer.Exit(session.report(error)) from None
            except KeyboardInterrupt:
                output.note("Interrupted.")
                raise typer.Exit(Exit.INTERRUPTED) from None
            finally:
                session.close()

        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        run.__annotations__, run.__signature__ = _parameters(function)  # type: ignore[attr-defined]
        app.command(name)(run)
        return function

    return register


def _parameters(function: Callable[..., None]) -> tuple[dict[str, Any], inspect.Signature]:
    hints = get_type_hints(function, include_extras=True)
    _, *own = inspect.signature(function).parameters.values()
    parameters = [
        *(parameter.replace(annotation=hints[parameter.name]) for parameter in own),
        *(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "json" else None, annotation=hint
            )
            for name, hint in SHARED.items()
        ),
    ]
    return {parameter.name: parameter.annotation for parameter in parameters}, inspect.Signature(parameters)
