"""One file and the environment become one frozen configuration; every default and limit with its reason.

TOML, `/etc/nicmapd/nicmapd.toml` by default; `NICMAPD_<SECTION>__<KEY>` in the environment wins over the file.
A fault names file, line, key, value and what is allowed; all faults are told at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nicmapd.errors import ConfigError
from nicmapd.text import printable

DEFAULT_FILE = Path("/etc/nicmapd/nicmapd.toml")
_ENVIRONMENT_PREFIX = "NICMAPD_"
#: Read by nicmapctl and by the service manager, not keys of the file.
_ENVIRONMENT_IGNORED = frozenset(
    {"NICMAPD_SOCKET", "NICMAPD_URL", "NICMAPD_TOKEN", "NICMAPD_TOKEN_FILE", "NICMAPD_CA_FILE", "NICMAPD_LAB_CACHE"}
)

MAX_PORT = 65535

Check = Callable[[Any], str | None]
"""Gives None if the value may stand, else what is allowed, in words."""


def _number(low: float, high: float, *, whole: bool = False) -> Check:
    words = f"a{' whole' if whole else ''} number from {low:g} to {high:g}"

    def check(value: Any) -> str | None:
        kinds = (int,) if whole else (int, float)
        good = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
        return None if good else words

    return check


def _one_of(*allowed: str) -> Check:
    words = "one of " + ", ".join(f'"{word}"' for word in allowed)
    return lambda value: None if isinstance(value, str) and value in allowed else words


def _text(pattern: str, words: str) -> Check:
    return lambda value: None if isinstance(value, str) and re.fullmatch(pattern, value) else words


def _listen(value: Any) -> str | None:
    match = (
        re.fullmatch(r"(?:(?:\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):(\d{1,5}))?", value) if isinstance(value, str) else None
    )
    good = match is not None and int(match[1] or 0) <= MAX_PORT
    return None if good else f'"host:port", such as "127.0.0.1:8420", with a port up to {MAX_PORT}, or "" for none'


def _hosts(value: Any) -> str | None:
    pattern = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?"
    good = isinstance(value, list) and all(isinstance(item, str) and re.fullmatch(pattern, item) for item in value)
    return None if good else 'a list of host names without port, such as ["kvm1.example.org"]'


def _group(name: str) -> Check:
    return _text(r"([A-Za-z_][A-Za-z0-9_.-]{0,30}\$?)?", f'the name of a group, such as "{name}", or "" for root only')


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _patterns(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    return None if good else 'a list of VM names, UUIDs or shell patterns, such as ["untrusted-*"]'


def _key(default: Any, check: Check, meaning: str) -> Any:
    metadata = {"check": check, "meaning": meaning}
    if isinstance(default, list):
        return field(default_factory=lambda: tuple(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class LibvirtConfig:
    uri: str = _key(
        "qemu:///system",
        _text(r"[a-z]+(\+[a-z0-9]+)?:\S+", 'a libvirt URI, such as "qemu:///system"'),
        "which libvirt; any URI that libvirt itself takes",
    )


@dataclass(frozen=True, slots=True)
class AgentConfig:
    # libvirt counts in whole seconds, and 0 means "time out at once". 2: a guest under load answers in 0.1 s; one
    # that needs longer is better asked again later than waited for with one of few slots.
    timeout: int = _key(2, _number(1, 60, whole=True), "seconds for one guest-network-get-interfaces")
    # libvirtd takes 5 requests a connection, then stops reading it, and has 20 workers for all clients.
    concurrency: int = _key(4, _number(1, 16, whole=True), "agent calls in flight at once, over all guests")
    probe: str = _key(
        "auto",
        _one_of("auto", "never"),
        "may read sysfs through the agent to verify which interface is the device",
    )
    opt_out: tuple[str, ...] = _key([], _patterns, "VM names or UUIDs (shell patterns) never contacted")


@dataclass(frozen=True, slots=True)
class PollConfig:
    # Ten seconds cost a guest one agent call of some milliseconds, and half the staleness that a person notices.
    interval: float = _key(10, _number(0.5, 3600), "seconds between polls of a settled guest")
    resync: float = _key(60, _number(5, 3600), "seconds between full comparisons with libvirt")
    backoff_max: float = _key(600, _number(10, 86400), "seconds, cap of the back-off for an unresponsive guest")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    url: str = _key(
        "sqlite:////var/lib/nicmapd/map.db",
        _text(
            r"(sqlite|postgresql)(\+[a-z0-9]+)?://\S*",
            "an SQLAlchemy URL of SQLite or PostgreSQL, such as "
            '"sqlite:////var/lib/nicmapd/map.db" or "postgresql+psycopg://nicmapd@/nicmapd"',
        ),
        "where the map is kept",
    )
    history_days: float = _key(90, _number(0, 36500), "days that past entries are kept")


@dataclass(frozen=True, slots=True)
class ApiConfig:
    socket: str = _key(
        "/run/nicmapd/api.sock",
        # sun_path has 108 bytes with its NUL.
        _text(r"(/.{1,106})?", 'an absolute path of at most 107 characters, or "" for none'),
        "Unix socket, mode 0660",
    )
    read_group: str = _key("nicmapd", _group("nicmapd"), "whose members may read on the Unix socket, besides root")
    # They may do all of it with virsh already, so that nicmapd gives nobody a right that he has not.
    write_group: str = _key("libvirt", _group("libvirt"), "whose members may ask for changes there, besides root")
    listen: str = _key(
        "",
        _listen,
        "host and port for TCP",
    )
    read_token_file: str = _key("", _text(r"(/.+)?", 'an absolute path, or ""'), "bearer token for reading")
    write_token_file: str = _key("", _text(r"(/.+)?", 'an absolute path, or ""'), "bearer token for changes")
    tls_certificate_file: str = _key(
        "", _text(r"(/.+)?", 'an absolute path, or ""'), "TLS certificate chain for TCP, PEM"
    )
    tls_key_file: str = _key("", _text(r"(/.+)?", 'an absolute path, or ""'), "its private key, PEM")
    insecure: bool = _key(False, _truth, "may listen beyond loopback without a read token or without TLS")
    hosts: tuple[str, ...] = _key([], _hosts, "names by which clients over TCP may call this host, besides its own")


@dataclass(frozen=True, slots=True)
class HintsConfig:
    rx_filter: bool = _key(
        False, _truth, "follow QEMU's NIC_RX_FILTER_CHANGED to see a rename at once (taints the domain)"
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: str = _key("info", _one_of("debug", "info", "warning", "error"), "least severe messages to log")
    format: str = _key(
        "auto",
        _one_of("auto", "plain", "json"),
        "auto: journal fields under systemd, colours on a terminal, else plain",
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. Sections and keys are those of CONTRACT section 3."""

    libvirt: LibvirtConfig = field(default_factory=LibvirtConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    poll: PollConfig = field(default_factory=PollConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    hints: HintsConfig = field(default_factory=HintsConfig)
    log: LogConfig = field(default_factory=LogConfig)


_SECTIONS: Mapping[str, Any] = {section.name: section.default_factory for section in dataclasses.fields(Config)}


def keys() -> dict[str, Mapping[str, Any]]:
    """`section.key` -> its default and its meaning; the documentation is checked against this."""
    found: dict[str, Mapping[str, Any]] = {}
    for section, kind in _SECTIONS.items():
        defaults = kind()
        for item in dataclasses.fields(kind):
            found[f"{section}.{item.name}"] = {
                "default": getattr(defaults, item.name),
                "meaning": item.metadata["meaning"],
            }
    return found


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration of `path` (None: the default file, which may be missing) under `environment`.

    Raises `ConfigError` with every fault.
    """
    environment = os.environ if environment is None else environment
    faults: list[str] = []
    text, document = _read(path, faults)
    source = str(path or DEFAULT_FILE)
    values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for section, content in document.items():
        _take_section(section, content, values, faults, place=functools.partial(_place, source, text, section))
    _take_environment(environment, values, faults)
    if faults:
        raise ConfigError(faults)
    return Config(**{section: _SECTIONS[section](**found) for section, found in values.items()})


def _read(path: Path | None, faults: list[str]) -> tuple[str, dict[str, Any]]:
    where = path or DEFAULT_FILE
    try:
        with where.open(encoding="utf-8") as file:
            text = file.read()
            mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            fault = f"anybody may change it (mode {stat.S_IMODE(mode):04o}): `chmod o-w {where}`"
            faults.append(f"{where}: {fault}")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        if path is not None:
            faults.append(f"{where}: there is no such file")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{where}: cannot be read: {error}")
    except tomllib.TOMLDecodeError as error:
        faults.append(f"{where}: not TOML: {error}")
    return "", {}


def _take_section(
    section: str,
    content: Any,
    values: dict[str, dict[str, Any]],
    faults: list[str],
    *,
    place: Callable[[str | None], str],
) -> None:
    if section not in _SECTIONS:
        faults.append(f"{place(None)}: {printable(section)}: unknown section{_nearest(section, _SECTIONS)}")
        return
    if not isinstance(content, dict):
        faults.append(f"{place(None)}: {section}: must be a section, written as [{section}]")
        return
    for key, value in content.items():
        _take(section, key, value, values, faults, place=place(key))


def _take(
    section: str, key: str, value: Any, values: dict[str, dict[str, Any]], faults: list[str], *, place: str
) -> None:
    known = {item.name: item for item in dataclasses.fields(_SECTIONS[section])}
    if key not in known:
        faults.append(f"{place}: {section}.{printable(key)} = {_written(value)}: unknown key{_nearest(key, known)}")
        return
    allowed = known[key].metadata["check"](value)
    if allowed is not None:
        faults.append(f"{place}: {section}.{key} = {_written(value)}: must be {allowed}")
        return
    values[section][key] = tuple(value) if isinstance(value, list) else value


def _written(value: Any) -> str:
    """`value` as it stands in the file, or nearly so: JSON writes text, numbers and lists as TOML does."""
    return printable(json.dumps(value, ensure_ascii=False, default=str))


def _take_environment(environment: Mapping[str, str], values: dict[str, dict[str, Any]], faults: list[str]) -> None:
    for variable in sorted(environment):
        if not variable.startswith(_ENVIRONMENT_PREFIX) or variable in _ENVIRONMENT_IGNORED:
            continue
        section, separator, key = variable[len(_ENVIRONMENT_PREFIX) :].lower().partition("__")
        if not separator:
            continue  # another program's variable that begins like ours
        if section not in _SECTIONS:
            faults.append(f"environment: {variable}: unknown section{_nearest(section, _SECTIONS)}")
            continue
        value = _from_text(section, key, environment[variable])
        _take(section, key, value, values, faults, place=f"environment: {variable}")


def _from_text(section: str, key: str, text: str) -> Any:
    """An environment variable's text as the type of the key's default; unreadable text stays, and is refused."""
    default = getattr(_SECTIONS[section](), key, "")
    if isinstance(default, str):
        return text
    if isinstance(default, tuple):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def located(path: Path | None, fault: str, *, environment: Mapping[str, str] = os.environ) -> str:
    """`fault` of a key ("section.key: ..." or "section.key = ..."), with where the key got its value: the environment,
    or a line of the file; with the file alone if it stands in neither."""
    section, _, key = re.split(r":| = ", fault, maxsplit=1)[0].partition(".")
    variable = f"{_ENVIRONMENT_PREFIX}{section}__{key}".upper()
    if variable in environment:
        return f"environment: {variable}: {fault}"
    source = path or DEFAULT_FILE
    try:
        place = _place(str(source), source.read_text(encoding="utf-8"), section, key or None)
    except (OSError, UnicodeDecodeError):
        return fault
    return f"{place}: {fault}"


def _nearest(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}"


def _place(source: str, text: str, section: str, key: str | None) -> str:
    """`file:line` of a key, as far as a line-wise look finds it (tomllib keeps no positions)."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            current = header.group(1).strip("\"'")
            if key is None and current == section:
                return f"{source}:{number}"
            continue
        left = line.partition("=")[0].strip().strip("\"'")
        if (current == section and left == key) or (not current and left in (section, f"{section}.{key}")):
            return f"{source}:{number}"
    return source
