"""When to look at whom: events and timers say "look at this VM", and one pass per VM at a time is run.

Everything here runs in the event loop, except the passes, which run in a small pool of threads. libvirt's event thread
and the timers only call `look`. Who of those that wait is next is lanes.py's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace

from nicmapd.aside import Aside
from nicmapd.board import Board
from nicmapd.compare import Comparer
from nicmapd.config import Config
from nicmapd.errors import NicmapError, Unavailable, without_frames
from nicmapd.interview import LOOK_TIMEOUTS
from nicmapd.keeper import Keeper
from nicmapd.lanes import Lanes
from nicmapd.logs import about
from nicmapd.meter import Meter
from nicmapd.model import AgentState, Change, ChangeKind, Domain, Outcome, VmRef
from nicmapd.pace import Pace
from nicmapd.ports import Clock, DomainEvent, EventKind, Hypervisor
from nicmapd.refresh import Refresher
from nicmapd.status import WatchStatus
from nicmapd.text import printable
from nicmapd.timers import Timers
from nicmapd.watched import Forget, Watched, Wish, forgets, lane_of, wish_seconds

_log = logging.getLogger(__name__)

#: Seconds between flushes of the times of last contact: what a restart may lose of an age.
FLUSH_SECONDS = 60
#: Seconds between attempts to write again what a failing store did not take.
STORE_RETRY_SECONDS = 5
#: Seconds between prunings of the history.
PRUNE_SECONDS = 3600
#: A VM that waits longer than this, and so many times `agent.timeout`, while no pass at all finishes means that the
#: passes are stuck: one may take 5 s of synchronising and 30 s for a lock that another client holds; for the reply, and
#: for looking into the guest, as long as interview.py allows.
OVERDUE_SECONDS = 40
OVERDUE_TIMEOUTS = 1 + LOOK_TIMEOUTS
#: Weight of the newest pass in the running mean of how late passes start.
_LAG_WEIGHT = 0.1


class Watcher:
    """Runs until `stop`. Construct and use it in the event loop's thread; `on_event` may come from any."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        refresher: Refresher,
        keeper: Keeper,
        board: Board,
        *,
        clock: Clock,
        config: Config,
        meter: Meter | None = None,
    ) -> None:
        self._hypervisor = hypervisor
        self._refresher = refresher
        self._keeper = keeper
        self._board = board
        self._clock = clock
        self._config = config
        self._meter = meter or Meter()
        self._loop = asyncio.get_running_loop()
        self._timers = Timers()
        self._pool = ThreadPoolExecutor(config.agent.concurrency, thread_name_prefix="pass")
        self._writer = Aside()
        self._watched: dict[str, Watched] = {}
        self._lanes = Lanes(config.agent.concurrency)
        self._in_flight: set[str] = set()
        self._suspects_in_flight = 0
        self._drained = asyncio.Event()
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False
        self._came = float("-inf")
        self._comparer = Comparer(hypervisor, board, found=self._take_domains, spawn=self._spawn)
        self._passes = 0
        self._last_finished: float | None = None
        self._lag = 0.0

    # -- life

    def start(self) -> None:
        """Starts the timers and listens to libvirt; the first comparison follows when libvirt is connected."""
        self._timers.start()
        self._timers.every("resync", self._config.poll.resync, self.resync)
        self._timers.every("flush", FLUSH_SECONDS, lambda: self._aside(self._keeper.flush_seen))
        self._timers.every("store", STORE_RETRY_SECONDS, self._write_unsaved)
        self._timers.every("prune", PRUNE_SECONDS, lambda: self._aside(self._prune))
        self._hypervisor.subscribe(self.on_event)

    def configure(self, config: Config) -> None:
        """Goes by `config` from now on, whose `agent.concurrency` is that of the start. All VMs are looked at soon."""
        before, self._config = self._config, config
        self._refresher.configure(config.agent)
        if config.poll.resync != before.poll.resync:
            self._timers.every("resync", config.poll.resync, self.resync)
        if (config.poll, config.agent) != (before.poll, before.agent):
            for watched in list(self._watched.values()):
                watched.pace.settings = config.poll
                self._look(watched)

    def _prune(self) -> None:
        self._keeper.prune(days=self._config.store.history_days)

    async def stop(self, *, seconds: float = 2.0) -> None:
        """Starts nothing more and waits at most `seconds` for the passes in flight: a hung call cannot be ended."""
        self._stopping = True
        self._timers.stop()
        if self._in_flight:
            self._drained.clear()
            self._spawn(self._drained.wait())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        self._refuse_all("nicmapd is stopping")
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._comparer.stop()
        self._writer.stop()

    def _refuse_all(self, reason: str) -> None:
        for watched in self._watched.values():
            watched.refuse(reason)

    def _aside(self, work: Callable[[], object]) -> None:
        if not self._stopping:
            self._writer.run(work)

    # -- what happens outside

    def on_event(self, event: DomainEvent) -> None:
        """An event of libvirt, from any thread: handed over, nothing else."""
        self._hand_over(self._take_event, event, self._clock.monotonic())

    def _hand_over(self, callback: Callable[..., object], *arguments: object) -> None:
        """Calls back in the loop's thread, from any; after the end of the loop not at all."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _take_event(self, event: DomainEvent, arrived: float) -> None:
        self._meter.told(event.kind)
        if event.kind is EventKind.CONNECTED:
            self._came = self._clock.monotonic()
            for watched in self._watched.values():
                watched.forget = max(watched.forget, Forget.AGENT)  # it may have restarted while nobody told us
                watched.pace.libvirt_came(self._came)
            self._note_resync()
            self._comparer.connected()
            return
        if event.kind is EventKind.DISCONNECTED:
            # Nobody knows when there will be a pass again, and who asked may have gone by then.
            self._refuse_all(f"libvirt is not connected: {event.detail or self._hypervisor.status().message}")
        if event.vm is None or self._stopping:
            return
        what = (printable(event.vm.name), event.kind.value, printable(event.detail))
        _log.debug("%s: event %s %s", *what, extra=about(event.vm))
        watched = self._watch(event.vm)
        if watched.told_at is None:
            watched.told_at = arrived
        if event.kind is EventKind.RX_FILTER:
            watched.pace.hinted(self._clock.monotonic())
            self._look(watched, urgent=True)
            return
        if (event.kind, event.detail) == (EventKind.AGENT, "connected"):
            watched.pace.reconnected()
        watched.forget = max(watched.forget, forgets(event))
        watched.pace.disturbed(self._clock.monotonic())
        self._look(watched, urgent=True)

    async def refresh(self, uuid: str) -> Outcome:
        """A pass for a reader, begun after this call. Raises `Unavailable` if libvirt is away or goes, and after
        `wish_seconds`."""
        entry = self._board.entry(uuid)
        watched = self._watched.get(uuid) or (self._watch(entry.vm) if entry else None)
        if watched is None or not self._hypervisor.status().connected:
            raise Unavailable(f"libvirt is not connected: {self._hypervisor.status().message}")
        if self._stopping:
            raise Unavailable("nicmapd is stopping")
        watched.forget = max(watched.forget, Forget.DOMAIN)
        wish = Wish(self._clock.monotonic())
        watched.wishes.append(wish)
        self._look(watched, urgent=True)
        seconds = wish_seconds(self._config.agent)
        try:
            return await asyncio.wait_for(wish.answer, seconds)
        except TimeoutError:
            raise Unavailable(f"no look at the VM came to an end within {seconds:g} s; what is known stays") from None
        finally:
            if wish in watched.wishes:  # nobody waits for it any more
                watched.wishes.remove(wish)

    # -- the full comparison

    def resync(self) -> None:
        """Compares everything with libvirt: events are hints and may be lost, this is the truth."""
        self._comparer.compare()

    def _take_domains(self, domains: Sequence[Domain]) -> None:
        """All that libvirt has."""
        for domain in domains:
            self._compare_one(domain)
        found = {domain.vm.uuid for domain in domains}
        for entry in self._board.entries():
            if entry.vm.uuid not in found:
                self._look(self._watch(entry.vm))
        self._write_unsaved()

    def _compare_one(self, domain: Domain) -> None:
        entry = self._board.entry(domain.vm.uuid)
        known = entry and (entry.state, entry.vm, entry.persistent)
        watched = self._watched.get(domain.vm.uuid)
        if watched is None or watched.forget is not Forget.NOTHING:
            self._look(self._watch(domain.vm))
        elif known != (domain.state, domain.vm, domain.persistent):
            watched.vm = domain.vm
            watched.forget = Forget.DOMAIN
            watched.pace.disturbed(self._clock.monotonic())
            self._look(watched)

    def _write_unsaved(self) -> None:
        for uuid in self._keeper.unsaved():
            entry = self._board.entry(uuid)
            self._look(self._watch(entry.vm if entry else VmRef(uuid, uuid)))

    def _note_resync(self) -> None:
        """Tells the readers of the feed that events may have been missed."""
        message = "connected to libvirt: what changed meanwhile follows"
        self._meter.changed(ChangeKind.RESYNC)
        self._aside(lambda: self._keeper.note(Change(ChangeKind.RESYNC, message)))

    # -- one VM

    def _watch(self, vm: VmRef) -> Watched:
        watched = self._watched.get(vm.uuid)
        if watched is None:
            watched = self._watched[vm.uuid] = Watched(vm, Pace(self._config.poll))
            watched.pace.libvirt_came(self._came)
        return watched

    def _look(self, watched: Watched, *, urgent: bool = False) -> None:
        if watched.running:
            watched.again = True
            return
        if watched.queued_at is None:
            watched.queued_at = self._clock.monotonic()
        lane = lane_of(watched, urgent=urgent)
        if watched.lane is None or (lane is not watched.lane and urgent):
            watched.lane = lane  # left behind in its old lane it is skipped there, or does no harm
            self._lanes.put(watched.vm.uuid, lane)
        self._pump()

    def _pump(self) -> None:
        """Starts passes while there is room."""
        if not self._hypervisor.status().connected:
            return  # all are looked at once it is back
        while not self._stopping and len(self._in_flight) < self._config.agent.concurrency:
            watched = self._next()
            if watched is None:
                return
            self._begin(watched)

    def _next(self) -> Watched | None:
        while (uuid := self._lanes.next(self._suspects_in_flight)) is not None:
            watched = self._watched.get(uuid)
            if watched is not None and watched.queued_at is not None:
                return watched
        return None

    def _begin(self, watched: Watched) -> None:
        started = self._clock.monotonic()
        self._lag += _LAG_WEIGHT * (started - (watched.queued_at or started) - self._lag)
        watched.queued_at, watched.lane = None, None
        watched.following, watched.told_at = watched.told_at, None
        watched.running, watched.again = True, False
        if watched.forget is Forget.GUEST:
            watched.memory.guest_booted()
        elif watched.forget is Forget.AGENT:
            watched.memory.agent_restarted()
        elif watched.forget is Forget.DOMAIN:
            watched.memory.domain_changed()
        watched.forget = Forget.NOTHING
        watched.heard, watched.wishes = watched.wishes, []
        self._in_flight.add(watched.vm.uuid)
        suspect = watched.pace.suspect
        self._suspects_in_flight += suspect
        known = self._board.entry(watched.vm.uuid) is not None
        work = self._refresher.run if known else self._refresher.meet
        run = self._pool.submit(work, watched.vm, watched.memory)
        run.add_done_callback(lambda done: self._hand_over(self._end, done, watched, suspect))

    def _spawn(self, work: Coroutine[object, object, object]) -> None:
        task: asyncio.Task[object] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, run: Future[Outcome], watched: Watched, suspect: bool) -> None:
        outcome: Outcome | None = None
        fault: Exception = Unavailable("the pass did not finish")
        try:
            outcome = run.result()
        except CancelledError:
            fault = Unavailable("nicmapd is stopping")
        except NicmapError as error:
            fault = without_frames(error)
            _log.info("%s: no pass: %s", printable(watched.vm.name), error.message, extra=about(watched.vm))
            self._meter.failed(defect=False)
        except Exception as error:  # noqa: BLE001  a defect with one VM must not end the others' passes
            name = printable(watched.vm.name)
            _log.exception("%s: the pass failed; this is a defect of nicmapd", name, extra=about(watched.vm))
            fault = without_frames(error)
            self._meter.failed(defect=True)
        watched.running = False
        self._in_flight.discard(watched.vm.uuid)
        self._suspects_in_flight -= suspect
        if outcome is not None or self._hypervisor.status().connected:  # else the next comparison looks for it again
            self._comparer.looked_at(watched.vm.uuid)
        if outcome is not None and outcome.agent is AgentState.UNKNOWN and not self._stopping:
            watched.wishes, watched.heard = [*watched.heard, *watched.wishes], []  # the next pass is theirs: met only
        else:
            watched.join()
        heard, watched.heard = watched.heard, []
        if not self._stopping:
            self._finish(watched, outcome)
        for wish in heard:
            wish.refuse(fault) if outcome is None else wish.grant(outcome)
        if not self._in_flight:
            self._drained.set()
        self._pump()

    def _finish(self, watched: Watched, outcome: Outcome | None) -> None:
        now = self._clock.monotonic()
        uuid = watched.vm.uuid
        if outcome is None:
            self._plan(watched, watched.pace.after_fault(), now)
        elif outcome.agent is AgentState.UNKNOWN:  # met: its pass comes when all have been met
            _log.debug("%s", outcome.sentence, extra=about(outcome.vm))
            self._last_finished = now
            watched.told_at = watched.told_at or watched.following
            self._look(watched, urgent=watched.told_at is not None)
        else:
            self._passes += 1
            self._last_finished = now
            self._meter.passed(outcome)
            if watched.following is not None and (outcome.answered or not outcome.asked):
                self._meter.followed(now - watched.following)
            level = logging.INFO if outcome.changes else logging.DEBUG
            _log.log(level, "%s", outcome.sentence, extra=about(outcome.vm, outcome.changes))
            watched.vm = outcome.vm
            delay = watched.pace.after(outcome, now, slow=watched.memory.slow)
            if outcome.gone and not watched.again and not watched.wishes:
                del self._watched[uuid]
                self._timers.cancel(uuid)
                return
            self._plan(watched, delay, now)
        if watched.again or watched.wishes:
            self._look(watched, urgent=True)

    def _plan(self, watched: Watched, delay: float, now: float) -> None:
        uuid = watched.vm.uuid
        self._timers.once(uuid, delay, lambda: self._look(watched))
        if self._board.entry(uuid) is not None:
            interval = self._config.poll.interval + self._lag
            contact = replace(self._board.contact(uuid), next_attempt=now + delay, interval=interval)
            self._board.touch(uuid, contact)

    # -- how it goes

    def status(self) -> WatchStatus:
        """How the passes go, for `/status`, `/readyz` and the watchdog."""
        now = self._clock.monotonic()
        waiting = [watched.queued_at for watched in self._watched.values() if watched.queued_at is not None]
        age = None if self._last_finished is None else now - self._last_finished
        late = max((now - queued for queued in waiting), default=0.0)
        limit = OVERDUE_SECONDS + OVERDUE_TIMEOUTS * self._config.agent.timeout
        return WatchStatus(
            last_pass_age=age,
            passes=self._passes,
            queue=len(waiting) + len(self._in_flight),
            interval=self._config.poll.interval + self._lag,
            lateness=late,
            suspects=frozenset(uuid for uuid, watched in self._watched.items() if watched.pace.failing),
            overdue=self._hypervisor.status().connected and late > limit and (age or late) > limit,
        )

    @property
    def synced(self) -> bool:
        """Whether the map has all that libvirt had when it was last connected."""
        return self._comparer.over
