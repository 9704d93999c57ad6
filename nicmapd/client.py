"""The api from the other side: requests over the Unix socket or TCP, answers as plain JSON values.

Imports little, for nicmapctl starts with every call. A problem document becomes the error of `errors` that its `code`
names, with the same details; what keeps a request from being answered at all are the three errors below.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from nicmapd import errors
from nicmapd.errors import NotPermitted, TimedOut, Unreachable
from nicmapd.text import printable

#: Seconds for an answer from memory or the store.
TIMEOUT = 10.0
#: Seconds for what asks a guest: libvirt may need 5 s + `agent.timeout` for a hung one, and 30 s more for one that
#: another client holds.
GUEST_TIMEOUT = 120.0

#: The certificate is good, but for another host: X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME = (62, 64)
#: The largest answer taken; a page of 1,000 NICs has about 1 MB.
_MAX_ANSWER = 64 * 1024 * 1024
#: The longest line of a stream; an event has some kB.
_MAX_LINE = 4 * 1024 * 1024
_PAGE = 1000

#: Members of a problem that are not details of ours. `message` would clash with the error's own parameter.
_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "instance", "message", "self", "state"})


_ERRORS: Mapping[str, type[errors.NicmapError]] = {
    kind.code: kind
    for kind in (
        errors.NotFound,
        errors.Ambiguous,
        errors.Conflict,
        errors.Invalid,
        errors.Stale,
        errors.PreconditionFailed,
        errors.Unsupported,
        errors.Unavailable,
        errors.Forbidden,
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer. `document` is None where there is no body (204, 304); `etag` as `If-Match` wants it."""

    status: int
    document: Any
    etag: str | None = None


@dataclass(slots=True)
class _Request:
    """What goes over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        end = time.monotonic() + (self.timeout or TIMEOUT)
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(self._path)
            except BlockingIOError:  # its queue is full; Linux does not wait for a place with a time-out set
                self.sock.close()
                if time.monotonic() > end:
                    raise TimeoutError from None
                time.sleep(0.02)
            except BaseException:
                self.sock.close()
                raise
            else:
                return


class Client:
    """One connection to the daemon, kept between requests. Not thread-safe.

    One of `url` (http or https) and `socket_path` says where; `url` wins. `ca_file` has the certificates (PEM) that may
    vouch for an https daemon, in place of the system's. All methods raise `errors.NicmapError`.
    """

    def __init__(
        self,
        *,
        socket_path: str = "",
        url: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        self._ca_file = ca_file
        self._url = urlsplit(url) if url else None
        self._path = socket_path
        self._headers = {"Accept": "application/json", "User-Agent": "nicmapctl"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if self._url is not None and (self._url.scheme not in ("http", "https") or not self._url.hostname):
            raise errors.Invalid(f"{printable(url or '')} is no address; give one such as http://127.0.0.1:8420")
        self._connection: http.client.HTTPConnection | None = None
        self._used = False

    @property
    def address(self) -> str:
        """Where the daemon is asked, for people."""
        return printable(self._url.geturl() if self._url else self._path)

    def get(self, *segments: str, query: Mapping[str, str | None] | None = None, timeout: float = TIMEOUT) -> Any:
        """The document at `/segments...`; keys of `query` that are None are left out."""
        return self._ask("GET", self._target(segments, query), timeout=timeout)

    def items(self, *segments: str, query: Mapping[str, str | None] | None = None) -> Iterator[Any]:
        """The items of a list, page after page where it has pages."""
        more: dict[str, str | None] = {"limit": str(_PAGE), **(query or {})}
        while True:
            page = self.get(*segments, query=more)
            yield from page["items"]
            if page.get("next") is None:
                return
            more["cursor"] = page["next"]

    def look(self, *segments: str, etag: str | None = None) -> Answer:
        """The document with its ETag; with the one that the caller has, status 304 if that is still true."""
        headers = {} if etag is None else {"If-None-Match": etag}
        return self._request("GET", self._target(segments), timeout=TIMEOUT, headers=headers)

    def post(self, *segments: str, timeout: float = GUEST_TIMEOUT) -> Any:
        """The answer to a POST without a body."""
        return self._ask("POST", self._target(segments), timeout=timeout)

    def change(
        self,
        method: str,
        *segments: str,
        body: Mapping[str, Any] | None = None,
        wait: int | None = None,
        etag: str | None = None,
    ) -> Answer:
        """POST, PATCH or DELETE of a NIC.

        `wait`: so many seconds the daemon may wait for the guest before it answers; None: its own default. `etag`: only
        if the NIC is still what it was with that.
        """
        headers = {}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        if etag is not None:
            headers["If-Match"] = etag
        # A kept connection may have been closed meanwhile (a user was asked something), and a change is never sent
        # twice: it gets a connection of its own.
        self.close()
        return self._request(
            method, self._target(segments), timeout=GUEST_TIMEOUT + (wait or 0), headers=headers, body=body
        )

    def stream(
        self,
        *segments: str,
        query: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float,
    ) -> Generator[bytes, None, None]:
        """The lines of an answer without end, on a connection of its own; `silence` is how many seconds it may pause.

        Ends where the daemon ends it. The first `next` connects, and raises as the other methods do.
        """
        target = self._target(segments, query)
        with closing(self._open(TIMEOUT)) as connection:
            with self._in_words(TIMEOUT):
                connection.request("GET", target, headers={**self._headers, **(headers or {})})
                answer = connection.getresponse()
                if answer.status != 200 or answer.headers.get_content_type() != "text/event-stream":
                    _read(answer, answer.read(_MAX_ANSWER), self.address)
                    raise Unreachable(f"what answers at {self.address} is not nicmapd", address=self.address)
            with closing(answer), self._in_words(silence):
                if connection.sock is not None:
                    connection.sock.settimeout(silence)
                yield from iter(lambda: answer.readline(_MAX_LINE), b"")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _target(self, segments: tuple[str, ...], query: Mapping[str, str | None] | None = None) -> str:
        prefix = self._url.path.rstrip("/") if self._url else ""
        given = {key: value for key, value in (query or {}).items() if value is not None}
        # surrogateescape: an argument that is not UTF-8 arrives as the bytes that it was, and is refused in words.
        path = prefix + "/" + "/".join(quote(one, safe="", errors="surrogateescape") for one in segments)
        return path + (f"?{urlencode(given, errors='surrogateescape')}" if given else "")

    def _ask(self, method: str, target: str, *, timeout: float) -> Any:
        return self._request(method, target, timeout=timeout).document

    def _request(
        self,
        method: str,
        target: str,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        sent = _Request(method, target, {**self._headers, **(headers or {})})
        if body is not None:
            sent.headers["Content-Type"] = "application/json"
            sent.body = json.dumps(body).encode("ascii")
        with self._in_words(timeout):
            answer, content = self._exchange(sent, timeout)
        return Answer(answer.status, _read(answer, content, self.address), answer.headers.get("ETag"))

    @contextmanager
    def _in_words(self, timeout: float) -> Iterator[None]:
        """What keeps a request from being answered as errors of ours."""
        try:
            yield
        except PermissionError as error:
            raise NotPermitted(f"{self.address}: this user may not connect to nicmapd", address=self.address) from error
        except TimeoutError as error:
            raise TimedOut(f"nicmapd has not answered for {timeout:.0f} s ({self.address})") from error
        except ssl.SSLCertVerificationError as error:
            mismatch = error.verify_code in _OTHER_NAME
            what = "is for another name" if mismatch else "is not trusted"
            raise Unreachable(
                f"the certificate of {self.address} {what}: {printable(error.verify_message)}",
                address=self.address,
                certificate="name" if mismatch else "trust",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
            raise Unreachable(f"nicmapd does not answer at {self.address}: {reason}", address=self.address) from error

    def _exchange(self, sent: _Request, timeout: float) -> tuple[http.client.HTTPResponse, bytes]:
        """One request. A kept connection that the daemon closed meanwhile is opened again, once, for a GET."""
        try:
            return self._exchange_once(sent, timeout)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            again = self._used and sent.method == "GET"
            self.close()
            if not again:
                raise
            return self._exchange_once(sent, timeout)
        except BaseException:
            self.close()
            raise

    def _exchange_once(self, sent: _Request, timeout: float) -> tuple[http.client.HTTPResponse, bytes]:
        if self._connection is None:
            self._connection, self._used = self._open(timeout), False
        connection = self._connection
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request(sent.method, sent.target, body=sent.body, headers=sent.headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER)
        self._used = True
        return answer, body

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # ssl.SSLError too: no certificate in it
            reason = error.strerror or "no certificate (PEM) in it"
            raise errors.Invalid(f"--ca-file {printable(self._ca_file or '')}: {printable(reason)}") from error

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        if self._url is None:
            return _UnixConnection(self._path, timeout=timeout)
        try:
            host, port = self._url.hostname or "", self._url.port
            if self._url.scheme == "http":
                return http.client.HTTPConnection(host, port, timeout=timeout)
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._trust())
        except ValueError as error:
            raise errors.Invalid(f"{self.address} is no address: {printable(str(error))}") from error


def _read(answer: http.client.HTTPResponse, body: bytes, address: str) -> Any:
    """The document of an answer, or the error that it tells of."""
    kind = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
    document: Any = None
    good = 200 <= answer.status < 300 or answer.status == 304
    if good and not body:
        return None
    if kind in ("application/json", "application/problem+json"):
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
    if document is None or (not good and not isinstance(document, dict)):
        raise Unreachable(f"what answers at {address} is not nicmapd (status {answer.status})", address=address)
    if good:
        return document
    raise error_of(document)


def error_of(problem: Mapping[str, Any]) -> errors.NicmapError:
    """A problem document as our error; an unknown code as a plain `NicmapError`."""
    kind = _ERRORS.get(str(problem.get("code")), errors.NicmapError)
    details = {key: value for key, value in problem.items() if key not in _PROBLEM_MEMBERS}
    return kind(str(problem.get("detail") or problem.get("title") or "no reason is given"), **details)
