"""What the commands share: where the daemon is, how to print, what the call was about."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nicmapd.errors import Invalid
from nicmapd.text import printable

if TYPE_CHECKING:
    from nicmapd.client import Client

DEFAULT_SOCKET = "/run/nicmapd/api.sock"

#: The options of this call that say where the daemon is, for command lines that can be copied.
way: ContextVar[tuple[str, ...]] = ContextVar("way", default=())

#: What they are called there.
_WAY = {"socket": "--socket", "url": "--url", "token_file": "--token-file", "ca_file": "--ca-file"}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """One call of nicmapctl.

    `subject` is the words after `nicmapctl` as far as they name things: the hint in an error repeats them with what
    would work. `hint` is what else a command knows to try, should the present state of things forbid what it asks for.
    """

    json: bool = False
    socket: str = DEFAULT_SOCKET
    url: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    subject: tuple[str, ...] = ()
    hint: str | None = None
    _said: set[str] = field(default_factory=set, repr=False)
    given: InitVar[Client | None] = None
    _client: Client | None = field(init=False, default=None, repr=False)

    def __post_init__(self, given: Client | None) -> None:
        self._client = given

    @property
    def client(self) -> Client:
        """The connection to the daemon."""
        if self._client is None:
            self._client = self.connect()
        return self._client

    def connect(self) -> Client:
        """Another connection, for another thread."""
        from nicmapd.client import Client  # late: --help and faults of usage need none

        return Client(socket_path=self.socket, url=self.url, token=self._token(), ca_file=self.ca_file)

    def take(self, name: str, value: Any, *, said: bool) -> None:
        """Sets an option. `said`: on the command line, which wins over the environment, also over that of the other
        address: `--socket` means the socket though $NICMAPD_URL is set."""
        rival = {"socket": "url", "url": "socket"}.get(name)
        if not said and (name in self._said or rival in self._said):
            return
        if said and rival in self._said:
            raise click.UsageError("only one of --socket, --url can be given")
        setattr(self, name, value)
        if said:
            self._said.add(name)
            if name == "socket":
                self.url = None
            if name in _WAY:
                way.set((*way.get(), _WAY[name], str(value)))

    def _token(self) -> str | None:
        import os

        if self.token_file is None:
            return os.environ.get("NICMAPD_TOKEN") or None
        try:
            token = Path(self.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"--token-file {printable(self.token_file)}: {printable(str(error))}") from error
        if not token or len(token.split()) > 1 or not token.isprintable():
            raise Invalid(f"--token-file {printable(self.token_file)}: it must hold one token, and nothing else")
        return token

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def about(self, *words: str | None) -> None:
        """Says what this call is about: the command, the VM, the NIC."""
        self.subject = tuple(word for word in words if word is not None)

    def print_json(self, document: object) -> None:
        """One JSON document, in ASCII: control characters of whatever kind come out escaped."""
        sys.stdout.write(encode(document, indent=2) + "\n")
        sys.stdout.flush()

    def print(self, text: str) -> None:
        """Lines for people; whatever came from outside is escaped by then."""
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A remark beside the data."""
        sys.stderr.write(f"nicmapctl: {text}\n")
        sys.stderr.flush()


def encode(document: object, *, indent: int | None = None) -> str:
    return json.dumps(document, indent=indent).replace("\x7f", "\\u007f")


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that puts an option that was given into the session, wherever it stands in the call."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        source = ctx.get_parameter_source(parameter.name or "")
        if value is not None and source is not click.core.ParameterSource.DEFAULT:
            ctx.ensure_object(Session).take(name, value, said=source is click.core.ParameterSource.COMMANDLINE)
        return value

    return callback


def connection_options(function: F) -> F:
    """--json, --socket, --url, --token-file and --ca-file, before the command."""
    return _options(function, hidden=False)


def command_options(function: F) -> F:
    """The same after the command, where people write them too."""
    return _options(function, hidden=True)


def _options(function: F, *, hidden: bool) -> F:
    options = (
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_set("json"), help="Print JSON, with the API's names."
        ),
        click.option(
            "--url",
            metavar="URL",
            envvar=None if hidden else "NICMAPD_URL",
            expose_value=False,
            callback=_set("url"),
            hidden=hidden,
            help="The daemon over TCP, such as http://host:8420; a token from $NICMAPD_TOKEN or --token-file.",
        ),
        click.option(
            "--socket",
            metavar="PATH",
            envvar=None if hidden else "NICMAPD_SOCKET",
            expose_value=False,
            callback=_set("socket"),
            hidden=hidden,
            help=f"The daemon's socket  [default: $NICMAPD_SOCKET, else {DEFAULT_SOCKET}]",
        ),
        click.option(
            "--token-file",
            metavar="FILE",
            envvar=None if hidden else "NICMAPD_TOKEN_FILE",
            expose_value=False,
            callback=_set("token_file"),
            hidden=hidden,
            help="File with the bearer token for --url  [default: $NICMAPD_TOKEN_FILE]",
        ),
        click.option(
            "--ca-file",
            metavar="FILE",
            envvar=None if hidden else "NICMAPD_CA_FILE",
            expose_value=False,
            callback=_set("ca_file"),
            hidden=hidden,
            help="Certificates that vouch for an https --url  [default: $NICMAPD_CA_FILE, else the system's]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
