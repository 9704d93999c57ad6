"""The configuration: what may stand, and what is said of what may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nicmapd import config
from nicmapd.errors import ConfigError


def load(tmp_path: Path, text: str, **environment: str) -> config.Config:
    path = tmp_path / "nicmapd.toml"
    path.write_text(text)
    return config.load(path, environment)


def faults(tmp_path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environment)
    return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]


def test_no_file_means_the_defaults_of_the_contract() -> None:
    defaults = {key: entry["default"] for key, entry in config.keys().items()}
    assert defaults == {
        "libvirt.uri": "qemu:///system",
        "agent.timeout": 2,
        "agent.concurrency": 4,
        "agent.probe": "auto",
        "agent.opt_out": (),
        "poll.interval": 10,
        "poll.resync": 60,
        "poll.backoff_max": 600,
        "store.url": "sqlite:////var/lib/nicmapd/map.db",
        "store.history_days": 90,
        "api.socket": "/run/nicmapd/api.sock",
        "api.read_group": "nicmapd",
        "api.write_group": "libvirt",
        "api.listen": "",
        "api.read_token_file": "",
        "api.write_token_file": "",
        "api.tls_certificate_file": "",
        "api.tls_key_file": "",
        "api.insecure": False,
        "api.hosts": (),
        "hints.rx_filter": False,
        "log.level": "info",
        "log.format": "auto",
    }
    assert config.load(None, {}) == config.Config()


def test_the_file_counts_and_the_environment_wins(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        '[poll]\ninterval = 5\nresync = 30\n[agent]\nopt_out = ["a*"]\n',
        NICMAPD_POLL__INTERVAL="2.5",
        NICMAPD_HINTS__RX_FILTER="true",
        NICMAPD_AGENT__OPT_OUT="x, y-*",
    )
    assert (found.poll.interval, found.poll.resync) == (2.5, 30)
    assert found.hints.rx_filter is True
    assert found.agent.opt_out == ("x", "y-*")


def test_every_fault_is_told_with_line_value_and_what_is_allowed(tmp_path: Path) -> None:
    text = '[poll]\nintervall = 5\ninterval = "soon"\n\n[agent]\nprobe = "sometimes"\ntimeout = 0\n[web]\nport = 1\n'
    assert faults(tmp_path, text) == [
        'nicmapd.toml:2: poll.intervall = 5: unknown key; did you mean "interval"?',
        'nicmapd.toml:3: poll.interval = "soon": must be a number from 0.5 to 3600',
        'nicmapd.toml:6: agent.probe = "sometimes": must be one of "auto", "never"',
        "nicmapd.toml:7: agent.timeout = 0: must be a whole number from 1 to 60",
        "nicmapd.toml:8: web: unknown section; known are libvirt, agent, poll, store, api, hints, log",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("poll = 3\n", "must be a section"),
        ("[poll\n", "not TOML"),
        ("[agent]\ntimeout = true\n", "agent.timeout = true: must be a whole number"),
        ("[agent]\ntimeout = 1.5\n", "whole number"),
        ('[agent]\nopt_out = "web1"\n', "a list of VM names"),
        ('[store]\nurl = "mysql://x"\n', "SQLite or PostgreSQL"),
        ('[api]\nsocket = "relative.sock"\n', "absolute path"),
        ('[api]\nlisten = "8080"\n', "host:port"),
        ('[api]\nlisten = "127.0.0.1:65536"\n', "with a port up to 65535"),
        ("[api]\nlisten = 8420\n", "host:port"),
        ('[log]\nlevel = "\\u001b[31m"\n', r'"\u001b[31m"'),
    ],
)
def test_bad_values_are_named(tmp_path: Path, text: str, words: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert words in fault
    assert "\x1b" not in fault


def test_the_environment_is_checked_like_the_file(tmp_path: Path) -> None:
    found = faults(tmp_path, "", NICMAPD_POLL__INTERVAL="often", NICMAPD_POL__INTERVAL="1", NICMAPD_SOCKET="/x")
    assert sorted(found, reverse=True) == [
        'environment: NICMAPD_POL__INTERVAL: unknown section; did you mean "poll"?',
        'environment: NICMAPD_POLL__INTERVAL: poll.interval = "often": must be a number from 0.5 to 3600',
    ]


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        config.load(tmp_path / "none.toml", {})


def test_a_file_that_anybody_may_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nicmapd.toml"
    path.write_text("[poll]\ninterval = 5\n")
    path.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    assert caught.value.faults == [f"{path}: anybody may change it (mode 0666): `chmod o-w {path}`"]
    path.chmod(0o664)
    assert config.load(path, {}).poll.interval == 5


@pytest.mark.parametrize("name", ["x" * 33, "a b", "-x", "3com", "a:b", "a\n"])
def test_a_group_is_a_name(tmp_path: Path, name: str) -> None:
    (line,) = faults(tmp_path, f"[api]\nwrite_group = {json.dumps(name)}\n")
    assert line.startswith("nicmapd.toml:2: api.write_group = ")
    assert 'must be the name of a group, such as "libvirt", or "" for root only' in line


def test_hosts_are_names_without_port(tmp_path: Path) -> None:
    for value in ('"kvm1"', '["kvm1:80"]', '["http://kvm1"]', '[""]', "[1]", '["a b"]'):
        (line,) = faults(tmp_path, f"[api]\nhosts = {value}\n")
        assert "must be a list of host names without port" in line
    assert load(tmp_path, '[api]\nhosts = ["kvm1.example.org"]\n').api.hosts == ("kvm1.example.org",)
