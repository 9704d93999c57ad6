"""What goes wrong between libvirt, a guest agent and us, in the words of `model.AgentState`.

Numbers and texts are those of libvirt 9.0 to 11.3 and qemu-ga 7.2 to 10.0. What of the guest's words gets into a
message is cleaned and bounded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from nicmapd.errors import AgentFailure
from nicmapd.model import AgentState
from nicmapd.text import printable

#: How much of libvirt's or the guest's words an error message shows, in characters.
MAX_WORDS = 300


class AgentRefusal(AgentFailure):
    """The agent answered, with an error. `words` is what it said, cleaned."""

    def __init__(self, message: str, *, state: AgentState, words: str) -> None:
        super().__init__(message, state=state.value)
        self.words = words


#: qemu-ga's words for a command that it knows not or may not run: "Command X has been disabled: ...", "The command X
#: has not been found", "this feature or command is not currently supported".
_DISABLED = re.compile(
    r"\bcommand (?:\S{1,64} )?(?:has been disabled|has not been found|is not (?:currently )?supported)", re.IGNORECASE
)
_NO_SUCH_FILE = "No such file or directory"

_SENTENCES = {
    AgentState.NOT_CONNECTED: "qemu-guest-agent is not connected: is it installed and running in the guest?",
    AgentState.UNRESPONSIVE: "the guest agent does not answer",
    AgentState.FROZEN: "the guest's file systems are frozen",
    AgentState.DISABLED: "the guest agent is not allowed to answer this, or cannot: see its configuration in the guest",
    AgentState.NO_CHANNEL: "the domain has no channel org.qemu.guest_agent.0",
    AgentState.PAUSED: "the VM is not running now",
    AgentState.BUSY: "another client holds this VM's guest agent",
    AgentState.BAD_REPLY: "the guest agent gave no usable reply",
}
_LATCHED = (
    "libvirt stopped listening to the guest agent after an unreadable reply: restart qemu-guest-agent in the guest"
)
_DENIED = "libvirt does not let nicmapd ask guest agents: give its user the permission domain.write"
_UNABLE = "this libvirt driver cannot ask guest agents"


def _by_agent_words(words: str) -> AgentState:
    """The state that an error of the agent stands for. Its words are English in every guest, those of the system
    behind them ("No such file or directory") are not."""
    if "frozen" in words:
        return AgentState.FROZEN
    return AgentState.DISABLED if "not allowed" in words or _DISABLED.search(words) else AgentState.BAD_REPLY


def _agent_unresponsive(text: str) -> tuple[AgentState, str | None]:
    if "not connected" in text:
        return AgentState.NOT_CONNECTED, None
    return AgentState.UNRESPONSIVE, _LATCHED if "due to an error" in text else None


def _operation_failed(text: str) -> tuple[AgentState, str | None]:
    return (AgentState.BUSY if "max_queued" in text else AgentState.BAD_REPLY), None


def _not_running(text: str) -> tuple[AgentState, str | None]:
    """libvirt says "domain is not running" of a paused VM as well as of one that is off. It was running when the pass
    began: paused, and the next pass reads what it is."""
    return (AgentState.OFF if "shut off" in text or "not active" in text else AgentState.PAUSED), None


#: libvirt's error number (virterror.h) -> the state, and a better sentence than the state's own. Numbers, because
#: libvirtd translates its texts to the host's language, and bindings of 9.0 have no names for 112 and 113.
_BY_CODE: dict[int, Callable[[str], tuple[AgentState, str | None]]] = {
    3: lambda _: (AgentState.DISABLED, _UNABLE),  # NO_SUPPORT
    9: _operation_failed,  # OPERATION_FAILED
    29: lambda _: (AgentState.BAD_REPLY, _DENIED),  # OPERATION_DENIED
    55: _not_running,  # OPERATION_INVALID
    68: lambda _: (AgentState.BUSY, None),  # OPERATION_TIMEOUT
    74: lambda _: (AgentState.NO_CHANNEL, None),  # ARGUMENT_UNSUPPORTED
    86: _agent_unresponsive,  # AGENT_UNRESPONSIVE
    88: lambda _: (AgentState.BAD_REPLY, _DENIED),  # ACCESS_DENIED
    97: lambda _: (AgentState.UNRESPONSIVE, None),  # AGENT_UNSYNCED
    112: lambda _: (AgentState.UNRESPONSIVE, None),  # AGENT_COMMAND_TIMEOUT
}
_AGENT_COMMAND_FAILED = 113
_INTERNAL_ERROR = 1
_FROM_QEMU = 10
#: How libvirt introduces an agent's error; "... 'guest-info': words of the agent".
_INTRODUCTION = re.compile(r"agent command '[^']*': (.*)", re.DOTALL)


def failure_of_error(*, code: int, domain: int, text: str) -> AgentFailure:
    """What a libvirt error of an agent call means, by its number and domain; libvirt 9.0 and 11.2+ differ in both.

    A number that is not known here means `bad_reply`: the VM backs off and is suspected, which is right for
    everything that comes from one guest and harmless for the rest; the message shows libvirt's words.
    """
    if code in _BY_CODE:
        state, sentence = _BY_CODE[code](text)
        return AgentFailure(_say(sentence or _SENTENCES[state], "libvirt", text), state=state.value)
    if code == _AGENT_COMMAND_FAILED or (code == _INTERNAL_ERROR and domain == _FROM_QEMU):
        introduced = _INTRODUCTION.search(text)
        return _refusal(introduced.group(1) if introduced else text)
    return AgentFailure(_say(_SENTENCES[AgentState.BAD_REPLY], "libvirt", text), state=AgentState.BAD_REPLY.value)


def failure_of_reply(error: object) -> AgentFailure:
    """What `{"error": {"class", "desc"}}` in a reply means; `desc` may be missing."""
    desc = error.get("desc") if isinstance(error, dict) else None
    kind = error.get("class") if isinstance(error, dict) else None
    refusal = _refusal(desc if isinstance(desc, str) else kind if isinstance(kind, str) else "an error without words")
    if kind == "CommandNotFound" and refusal.state == AgentState.BAD_REPLY:
        return AgentRefusal(refusal.message, state=AgentState.DISABLED, words=refusal.words)
    return refusal


def _refusal(words: str) -> AgentRefusal:
    words = printable(words, limit=MAX_WORDS)
    state = _by_agent_words(words)
    return AgentRefusal(_say(_SENTENCES[state], "it", words), state=state, words=words)


def _say(sentence: str, who: str, words: str) -> str:
    return f"{sentence} ({who} says: {printable(words, limit=MAX_WORDS)})"


def may_be_frozen(failure: AgentFailure) -> bool:
    """Whether a `disabled` agent may in truth be frozen: qemu-ga 10 says "not allowed" of both."""
    return failure.state == AgentState.DISABLED and isinstance(failure, AgentRefusal) and "not allowed" in failure.words


def is_no_such_file(failure: AgentFailure) -> bool:
    """Whether the guest said that a file does not exist. In a guest of another language, never: nothing is known."""
    return isinstance(failure, AgentRefusal) and failure.words.endswith(_NO_SUCH_FILE)
