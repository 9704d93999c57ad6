"""What `nicmapctl doctor` checks, on documents of the api: the daemon, a VM on its way from libvirt to the names, and
what only shows when all VMs are looked at together. Pure."""

from __future__ import annotations

import ipaddress
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nicmapd.cli import words
from nicmapd.cli.failure import line


class Result(StrEnum):
    """How a check ended. SKIP: there was nothing to check, or what it needs has failed before."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `what` is what should be so; `detail` what is; `advice` what to do. All escaped."""

    subject: str
    what: str
    result: Result
    detail: str = ""
    advice: str = ""

    @property
    def good(self) -> bool:
        return self.result in (Result.PASS, Result.SKIP)


#: Subjects that are no VM.
_DAEMON, _TOGETHER = "nicmapd", "all VMs"

#: Where nicmapd looks if it is told nothing else.
_URI = "qemu:///system"

_CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"

#: The way to an answer, step by step.
_STEPS = (
    "the domain XML has an agent channel",
    "the guest agent is connected",
    "the guest agent answers",
    "the guest agent tells its interfaces",
)

#: Agent state -> the step that it stops at, how bad that is, and what to do.
_STOPS: dict[str, tuple[int, Result, str]] = {
    "unknown": (0, Result.WARN, "it is its turn in a moment"),
    "no_channel": (0, Result.FAIL, f"add {_CHANNEL} to its XML (virsh edit), and start it anew"),
    "not_connected": (
        1,
        Result.FAIL,
        "in the guest, install and start qemu-guest-agent; on Windows, the virtio serial driver too",
    ),
    "unresponsive": (2, Result.FAIL, "see whether the guest hangs; else restart qemu-guest-agent in it"),
    "busy": (2, Result.WARN, "find the other client that holds the agent: a backup, a second tool?"),
    "frozen": (2, Result.WARN, "a backup froze its file systems; if none runs any more: virsh domfsthaw"),
    "disabled": (
        3,
        Result.FAIL,
        "in the guest, let the agent answer guest-network-get-interfaces (block-rpcs in qemu-ga.conf)",
    ),
    "bad_reply": (3, Result.FAIL, "restart qemu-guest-agent in the guest; if it stays so, update it"),
}


def of_daemon(status: Any, reasons: Sequence[str]) -> list[Check]:
    """The daemon, by its status and by what keeps it from being ready."""
    libvirt, store, passes = status["libvirt"], status["store"], status["passes"]
    found = [
        Check(_DAEMON, "answers", Result.PASS, f"version {words.text(status['version'])}"),
        _of_libvirt(libvirt),
        _of_store(store),
        _of_passes(passes),
    ]
    # What is degraded has its own line above.
    others = [one for one in reasons if one not in status["reasons"]]
    if others:
        found.append(Check(_DAEMON, "is ready", Result.WARN, words.text("; ".join(others)), "look again in a moment"))
    return found


def _of_libvirt(libvirt: Any) -> Check:
    what = "is connected to libvirt"
    if libvirt["connected"]:
        return Check(_DAEMON, what, Result.PASS, f"version {words.text(libvirt['version'])}")
    uri = words.text(libvirt["uri"] or _URI)
    return Check(
        _DAEMON,
        what,
        Result.FAIL,
        words.text(libvirt["message"]),
        f"try it as the user of nicmapd: runuser -u nicmapd -- virsh -c {shlex.quote(uri)} list",
    )


def _of_store(store: Any) -> Check:
    what = "can write the map down"
    if store["state"] != "ok":
        advice = "is the disk full or read-only, the database away? It is tried again by itself"
        return Check(_DAEMON, what, Result.FAIL, words.text(store["message"]), advice)
    noisy = store["suppressed"]
    if noisy:
        detail = f"{sum(noisy.values())} changes of {words.count(len(noisy), 'VM')} were too many to keep"
        return Check(
            _DAEMON,
            what,
            Result.WARN,
            detail,
            f"see why its names change all the time: {line('show', next(iter(noisy)))}",
        )
    return Check(_DAEMON, what, Result.PASS, words.text(store["backend"]))


def _of_passes(passes: Any) -> Check:
    what = "asks the guests in time"
    last = "no pass has finished" if passes["last_age"] is None else f"last pass {words.ago(passes['last_age'])}"
    if passes["overdue"]:
        return Check(_DAEMON, what, Result.FAIL, last, "libvirtd may hang; see journalctl -u nicmapd -u libvirtd")
    late = passes["lateness"]
    if late > max(passes["interval"], 10.0):
        advice = "raise poll.interval or agent.concurrency"
        return Check(_DAEMON, what, Result.WARN, f"{last}, {late:.0f} s late", advice)
    return Check(_DAEMON, what, Result.PASS, f"{last}, every {passes['interval']:g} s")


def of_vm(vm: Any, nics: Sequence[Any], *, uri: str | None) -> list[Check]:
    """A VM, from libvirt at `uri` to the names of its NICs."""
    name = words.text(vm["name"])
    # What only the configuration has is not in the guest yet, and nothing is wrong with that.
    there = [nic for nic in nics if nic["pending"] is None or nic["pending"]["kind"] != "attach"]
    coming = len(nics) - len(there)
    runs = _runs(name, vm, uri)
    if vm["state"] in ("off", "crashed"):
        return [runs]
    return [runs, *_agent(name, vm), _freshness(name, vm), *_named(name, vm, there, coming), *_sound(name, vm, there)]


def _virsh(uri: str | None, command: str, vm: Any) -> str:
    """A command line of virsh, which knows no escaped names, and by itself not where nicmapd's VMs are."""
    clear = words.text(vm["name"]) == vm["name"] and not vm["name"].startswith("-")
    return shlex.join(["virsh", "-c", words.text(uri or _URI), command, words.text(vm["name" if clear else "uuid"])])


def _runs(name: str, vm: Any, uri: str | None) -> Check:
    state, what = vm["state"], "the VM runs"
    if state == "running":
        return Check(name, what, Result.PASS)
    if state == "off":
        return Check(name, what, Result.SKIP, "it is off, its names are those of when it ran")
    if state == "crashed":
        return Check(name, what, Result.FAIL, "it has crashed", _virsh(uri, "start", vm))
    resume = "resume" if state == "paused" else "dompmwakeup"
    return Check(name, what, Result.WARN, f"it is {words.text(state)}", _virsh(uri, resume, vm))


def _agent(name: str, vm: Any) -> list[Check]:
    agent = vm["agent"]
    state = agent["state"]
    if state == "ok":
        version = f"version {words.text(agent['version'])}" if agent["version"] else ""
        return [Check(name, what, Result.PASS, version if what is _STEPS[-1] else "") for what in _STEPS]
    if state == "opted_out":
        advice = "take it out of agent.opt_out in nicmapd.toml, if that is not wanted"
        return [Check(name, "the guest agent may be asked", Result.SKIP, words.text(agent["message"]), advice)]
    stop, result, advice = _STOPS.get(state, (0, Result.SKIP, ""))
    since = f", for {words.lasting(agent['since'])}" if agent["since"] else ""
    detail = words.text(agent["message"] or words.AGENT.get(state, state)) + since
    if result is Result.FAIL or state == "unknown":
        advice = f"{advice}; then: {line('refresh', vm['name'])}"
    failed = Check(name, _STEPS[stop], result, detail, advice)
    rest = [Check(name, what, Result.SKIP, "not known before that") for what in _STEPS[stop + 1 :]]
    return [*(Check(name, what, Result.PASS) for what in _STEPS[:stop]), failed, *rest]


def _freshness(name: str, vm: Any) -> Check:
    what, freshness = "what is known is up to date", vm["freshness"]
    detail = "the guest has never answered" if vm["age"] is None else f"the guest answered {words.ago(vm['age'])}"
    if freshness == "fresh":
        return Check(name, what, Result.PASS, detail)
    if freshness == "never":
        return Check(name, what, Result.SKIP, detail)
    return Check(name, what, Result.WARN, f"{detail}; what is shown is from then")


def _named(name: str, vm: Any, nics: Sequence[Any], coming: int) -> list[Check]:
    """Whether each NIC has its name. One line if that is so, else one for each that has not. `coming`: how many more
    there will be after the next boot."""
    what = "every NIC has its name"
    if not nics:
        return [Check(name, what, Result.SKIP, "it has no NICs")]
    if vm["age"] is None:
        return [Check(name, what, Result.SKIP, "not known before that")]
    found = [check for nic in nics if (check := _nameless(name, what, nic)) is not None]
    shown = ", ".join(words.text(nic["name"]) for nic in nics)
    if coming:
        shown += f"; {words.count(coming, 'NIC')} more with the next boot"
    return found or [Check(name, what, Result.PASS, shown)]


def _nameless(name: str, what: str, nic: Any) -> Check | None:
    mac, reason = words.text(nic["mac"]), words.text(nic["reason"])
    if nic["name_state"] == "ambiguous":
        maybe = " or ".join(words.text(one) for one in nic["candidates"][:4])
        advice = 'let nicmapd verify it: agent.probe = "auto", and guest-file-open allowed in the guest'
        return Check(name, what, Result.WARN, f"{mac} may be {maybe}: {reason}", advice)
    if nic["name_state"] == "unseen":
        advice = "in the guest: has it a driver, is it disabled or in a network namespace?"
        return Check(name, what, Result.WARN, f"{mac}: {reason}", advice)
    if nic["name"] is None:
        return Check(name, what, Result.WARN, f"{mac}: {reason}", f"ask again: {line('refresh', nic['vm'])}")
    return None


def _sound(name: str, vm: Any, nics: Sequence[Any]) -> list[Check]:
    """What else may surprise: one line for each surprise, and none where there is none."""
    found = []
    for nic in nics:
        called = words.text(nic["name"] or nic["mac"])
        if nic["guest_mac"] is not None:
            detail = f"{called} has {words.text(nic['mac'])} in the XML, the guest uses {words.text(nic['guest_mac'])}"
            advice = "DHCP leases and filters of libvirt go by the XML; set it back in the guest"
            found.append(Check(name, "the guest uses the MACs of the XML", Result.WARN, detail, advice))
        if nic["link"] == "down":
            advice = line("link", vm["name"], nic["name"] or nic["mac"], "up")
            found.append(Check(name, "every cable is plugged in", Result.WARN, f"the link of {called} is down", advice))
        if not nic["reachable"]:
            detail = f"{called} reads as something else in a URL"
            found.append(Check(name, "every name can be used", Result.WARN, detail, f"use {words.text(nic['mac'])}"))
    if nics and vm["freshness"] == "fresh" and not any(_global(nic) for nic in nics):
        detail = "the guest shows none, or link-local ones only"
        advice = "in the guest: is it configured, does DHCP answer?"
        found.append(Check(name, "the guest has an address", Result.WARN, detail, advice))
    return found


def _global(nic: Any) -> list[str]:
    return [one["ip"] for one in nic["addresses"] if not ipaddress.ip_address(one["ip"]).is_link_local]


def of_all(nics: Iterable[Any]) -> list[Check]:
    """What only shows when all VMs are looked at: MACs and addresses that two of them use."""
    macs: defaultdict[str, dict[str, str]] = defaultdict(dict)
    addresses: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for nic in nics:
        if nic["name_state"] == "last_known":
            continue
        macs[nic["mac"]][nic["vm_uuid"]] = words.text(nic["vm"])
        place = nic["network"] or nic["source"]
        if place is not None and nic["name_state"] == "fresh":
            for ip in _global(nic):
                addresses[place, ip][nic["vm_uuid"]] = words.text(nic["vm"])
    found = []
    for mac, vms in macs.items():
        if len(vms) > 1:
            detail = f"{words.text(mac)} is used by {' and '.join(sorted(vms.values()))}"
            found.append(
                Check(
                    _TOGETHER,
                    "each MAC is used by one VM",
                    Result.WARN,
                    detail,
                    "give one of them another (virsh edit)",
                )
            )
    for (place, ip), vms in addresses.items():
        if len(vms) > 1:
            detail = f"{words.text(ip)} on {words.text(place)} is claimed by {' and '.join(sorted(vms.values()))}"
            found.append(
                Check(
                    _TOGETHER, "each address is used by one VM", Result.WARN, detail, "change it in one of the guests"
                )
            )
    return found
