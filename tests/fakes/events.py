"""A client of `GET /events` that shows everything that comes, and waits for nothing but that."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One block of the stream: its fields as they came, comments joined."""

    id: int | None
    kind: str | None
    data: Any
    comment: str
    retry: int | None = None


class EventClient:
    """One stream, opened at once. `status`, `headers` of the answer; iterates over the blocks of its body."""

    def __init__(
        self, path: Path, target: str = "/events", *, headers: Mapping[str, str] | None = None, timeout: float = 10.0
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        lines = [f"GET {target} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._answer = HTTPResponse(self.socket)
        self._answer.begin()
        self.status = self._answer.status
        self.headers = {name.lower(): value for name, value in self._answer.getheaders()}

    def __iter__(self) -> Iterator[Event]:
        block: list[str] = []
        while line := self._answer.readline():
            text = line.decode("ascii").rstrip("\n")
            if text:
                block.append(text)
            else:
                yield _event(block)
                block = []

    def next(self) -> Event:
        return next(iter(self))

    def changes(self, count: int) -> list[Event]:
        """The next so many events that have a kind."""
        found: list[Event] = []
        for event in self:
            if event.kind is not None:
                found.append(event)
            if len(found) == count:
                break
        return found

    def problem(self) -> Any:
        return json.loads(self._answer.read())

    def close(self) -> None:
        self._answer.close()
        self.socket.close()

    def __enter__(self) -> EventClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _event(block: list[str]) -> Event:
    fields: dict[str, str] = {}
    for line in block:
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    return Event(
        id=int(fields["id"]) if "id" in fields else None,
        kind=fields.get("event"),
        data=json.loads(fields["data"]) if "data" in fields else None,
        comment=fields.get("", ""),
        retry=int(fields["retry"]) if "retry" in fields else None,
    )
