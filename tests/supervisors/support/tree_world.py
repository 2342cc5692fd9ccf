"""Runs a program of random_trees, watching from the children's side that every promise is kept.

It does not say what a supervisor must do next; that is what the recorded scenarios are for. It
checks what must hold whatever happens, and writes down in ``broken`` what did not.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import attrs
import trio
from random_trees import POOL, Act, Node, Program
from trio.testing import wait_all_tasks_blocked

import supervisors as ours

ALONE = ("one_for_one", POOL)
"""The strategies that restart nobody but the child that ended."""

STARTING = ("start_child", "restart_child")

MUCH = 100.0  # seconds; more than all slow stops of one restart take together
LATE = ours.shutdown_with("late")
RETURNS = {"garbage": "weird", "shutdown": ours.SHUTDOWN, "shutdown info": LATE, "normal": None}


@attrs.define(eq=False)
class Life:
    """One incarnation of a child, or the root, from its first step to its last."""

    world: World = attrs.field(repr=False)
    above: Life | None
    node: Node = attrs.field(repr=False)
    path: str
    child: ours.Child | None = None
    began: bool = False
    over: bool = False
    ignored: bool = False
    asked: bool = False
    killed: bool = False
    """By us, not by its supervisor."""
    noticed: bool = False
    """Its supervisor has reported its end."""
    wake: trio.Event = attrs.field(factory=trio.Event, repr=False)
    command: str | None = None
    seen: int = 0
    """How many reports its supervisor had made when it was started."""

    # where it is a supervisor
    ref: ours.SupervisorRef | None = None
    gave_up: bool = False
    lives: list[Life] = attrs.field(factory=list, repr=False)
    specs: list[ours.ChildSpec] = attrs.field(factory=list, repr=False)
    """Each spec it has had, in the order in which they came."""
    reports: list[ours.Report] = attrs.field(factory=list, repr=False)
    attempts: list[tuple[float, str, bool]] = attrs.field(factory=list, repr=False)
    """Starts but the first ones: when, of whom, and whether it was surely no call that did it."""

    @property
    def alive(self) -> list[Life]:
        return [one for one in self.lives if not one.over]

    @property
    def place(self) -> int:
        """Where its spec is among its siblings'."""
        assert self.above is not None
        return next(n for n, spec in enumerate(self.above.specs) if spec is self.child.spec)  # type: ignore[union-attr]

    @property
    def is_ending(self) -> bool:
        return self.asked or self.wake.is_set() or self.is_cancelled

    @property
    def is_cancelled(self) -> bool:
        """Whether it, or what it lives in, was cancelled: then its children end all at once."""
        life: Life | None = self
        while life is not None:
            # there is no public sign of a supervisor's having killed a child
            if life.killed or (life.child is not None and life.child._scope.cancel_called):
                return True
            life = life.above
        return self.world.cancelled


@attrs.define(eq=False)
class Call:
    op: str
    life: Life
    target: object = None
    answer: object = None
    answered: bool = False
    gave_up: bool = False
    """The caller, so that nobody knows whether it was carried out."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, repr=False)
    overtakes: bool = False
    """Whether a start that was asked for before may come after it."""

    @property
    def about(self) -> object:
        """The id of the child, or its path in a pool."""
        return self.target.path if isinstance(self.target, Life) else self.target


class World:
    """One run of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.broken: list[str] = []
        self.lives: dict[str, Life] = {}  # those that are not over, by path
        self.supervisors: list[Life] = []
        self.calls: list[Call] = []
        self.scripts: dict[str, deque[str]] = {}
        self.stops: dict[str, str] = {}
        self.held: dict[str, trio.Event] = {}
        self.ignored: set[tuple[Life, object]] = set()
        self.tags: dict[Life, int] = defaultdict(int)
        self.cancelled = False
        self.ended: object = None

    def wrong(self, words: str) -> None:
        self.broken.append(f"{trio.current_time():g} s: {words}")

    # The children

    def spec(self, above: Life, node: Node) -> dict[str, Any]:
        async def start(child: ours.Child, tag: str = node.id) -> object:
            life = Life(self, above, node, f"{above.path}/{tag}", child)
            with self.lived(life):
                return await (self.supervise(life) if node.strategy else self.work(life))

        return {
            "id": node.id,
            "start": start,
            "restart": node.restart,
            "shutdown": node.shutdown,
            "significant": node.significant,
            "type": "supervisor" if node.strategy else "worker",
        }

    @contextmanager
    def lived(self, life: Life) -> Iterator[None]:
        self.enter(life)
        try:
            yield
        except trio.Cancelled:
            self.check_cancelled(life)
            raise
        finally:
            life.over = True
            if self.lives.get(life.path) is life:
                del self.lives[life.path]
            if life.alive:
                self.wrong(f"{life.path} is gone, and these live: {life.alive}")
            if life.above is not None and life.above.node.strategy == POOL:
                self.check_together(life)

    def enter(self, life: Life) -> None:
        above, path = life.above, life.path
        if path in self.lives:
            self.wrong(f"two incarnations of {path} at once")
        self.lives[path] = life
        if life.node.strategy:
            self.supervisors.append(life)
        if above is None:
            return
        if above.over or above.gave_up:
            self.wrong(f"{path} is started under a supervisor that has ended or gives up")
        above.lives.append(life)
        life.seen = len(above.reports)
        assert life.child is not None
        if not any(spec is life.child.spec for spec in above.specs):
            above.specs.append(life.child.spec)
        if above.began:
            by_hand = self.is_called(above, STARTING, life)
            first = above.node.strategy == POOL and not self.was_started(life)
            if not first:
                above.attempts.append((trio.current_time(), path, not by_hand))
                self.check_wanted(life, by_hand)
                self.check_intensity(above, path)

    def was_started(self, life: Life) -> bool:
        assert life.above is not None
        return any(one.path == life.path for one in life.above.lives if one is not life)

    async def outcome(self, life: Life) -> str:
        script = self.scripts.setdefault(life.path, deque(life.node.starts))
        how = script.popleft() if script else "ok"
        if how.startswith("hold_"):
            gate = self.held[life.path] = trio.Event()
            try:
                await gate.wait()
            finally:
                del self.held[life.path]
        how = how.removeprefix("hold_")
        if how == "kill":
            assert life.child is not None
            life.killed = True
            ours.kill(life.child)
            await trio.sleep_forever()
        if how == "ignore":
            life.ignored = True
            assert life.above is not None
            self.ignored.add((life.above, life.node.id))
        return how

    async def failed(self, life: Life) -> object:
        """What a start that does not succeed returns; else None."""
        how = await self.outcome(life)
        if how == "raise":
            raise RuntimeError("no luck")
        return {"ignore": ours.IGNORE, "error": ours.error("no"), "garbage": "weird"}.get(how)

    async def work(self, life: Life) -> object:
        child = life.child
        assert child is not None
        failed = await self.failed(life)
        if failed is not None:
            return failed

        def asked() -> None:
            self.asked(life)
            life.wake.set()

        child.on_stop(asked)
        life.began = True
        child.started()
        try:
            await life.wake.wait()
            if life.command is None:
                return await self.obey(life)
        finally:
            if self.way(life) == "slow cleanup":
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.25)
        return self.end_as(life.command)

    def way(self, life: Life) -> str:
        return self.stops.get(life.path, life.node.stop)

    async def obey(self, life: Life) -> object:
        assert life.child is not None
        match self.way(life):
            case "linger":
                await trio.sleep(0.25)
            case "deaf":
                patience = 3 if life.child.shutdown == "infinity" else 1e6
                await trio.sleep(patience)
            case "crash":
                raise ValueError("on the way out")
            case "exit normal":
                raise ours.Exit(ours.NORMAL)
        return None

    def end_as(self, how: str) -> object:
        match how:
            case "crash":
                raise ValueError("crash")
            case "group":
                raise ExceptionGroup("both", [ValueError("one"), KeyError("other")])
            case "exit error":
                raise ours.Exit(ours.error("crash"))
            case "system exit":
                raise SystemExit("crash")
        return RETURNS[how]

    async def supervise(self, life: Life) -> object:
        child = life.child
        assert child is not None
        failed = await self.failed(life)
        if failed is not None:
            return failed
        child.on_stop(lambda: self.asked(life))
        reason = await self.supervisor(life).run_under(child)
        self.check_ended(life, reason)
        return reason

    def supervisor(self, life: Life) -> ours.Supervisor:
        specs = [self.spec(life, node) for node in life.node.children]
        backoff = None
        if life.node.backoff is not None:
            first, maximum = life.node.backoff
            backoff = ours.Backoff(first=first, maximum=maximum, reset_after=20)
        return ours.Supervisor(
            specs,
            **life.node.flags,
            name=life.path,
            on_report=lambda one: self.told(life, one),
            backoff=backoff,
            rng=Random(self.program.seed),
        )

    async def root(self, life: Life, task_status: Any) -> None:
        with self.lived(life):
            try:
                reason = await self.supervisor(life).run(task_status=task_status)
            except ours.StartFailed as exc:
                self.ended = exc.reason
                task_status.started(None)
            else:
                self.ended = reason
                self.check_ended(life, reason)

    # What is checked at once

    def asked(self, life: Life) -> None:
        if life.asked:
            self.wrong(f"{life.path} is asked twice to stop")
        life.asked = True
        self.check_order(life)

    def check_order(self, life: Life) -> None:
        """No sibling behind it lives when a child is stopped, unless somebody called for that."""
        above = life.above
        assert above is not None
        if above.node.strategy == POOL or above.is_cancelled:
            return
        if self.is_called(above, ("terminate_child",), life):
            return
        later = [one for one in above.alive if one.place > life.place]
        if later:
            self.wrong(f"{life.path} is stopped while these, behind it, live: {later}")

    def check_cancelled(self, life: Life) -> None:
        """Nobody is cancelled but for brutal_kill, at the deadline, or with all around it."""
        if life.killed or life.above is None or life.above.is_cancelled:
            return
        assert life.child is not None
        if life.child.shutdown == "brutal_kill":
            self.check_order(life)
        elif not (life.asked and trio.current_time() >= life.child.stop_deadline):
            self.wrong(f"{life.path} is cancelled for no reason")

    def check_together(self, life: Life) -> None:
        """When the first child of a pool that ends has gone, all have been asked to."""
        above = life.above
        assert above is not None
        if (
            not life.asked
            or above.is_cancelled
            or self.is_called(above, ("terminate_child",), life)
        ):
            return
        others = [one for one in above.alive if one.began]
        deadlines = {one.child.stop_deadline for one in [life, *others] if one.child and one.asked}
        terminated = [one for one in others if self.is_called(above, ("terminate_child",), one)]
        if not all(one.asked for one in others) or (len(deadlines) > 1 and not terminated):
            self.wrong(f"{life.path} is stopped, and not together with {others}")

    def check_wanted(self, life: Life, by_hand: bool) -> None:
        """Once terminate_child() has answered, only a call, or a sibling, starts it again."""
        above = life.above
        assert above is not None
        about = [c for c in self.calls if c.life is above and c.about in (life.node.id, life.path)]
        last = [c for c in about if c.op in ("terminate_child", "restart_child", "start_child")][
            -1:
        ]
        done = last and last[0].op == "terminate_child" and last[0].answered
        alone = above.node.strategy == "one_for_one"  # in a pool a dead handle may be meant
        if alone and not by_hand and done and last[0].answer is None and not last[0].overtakes:
            self.wrong(f"{life.path} is started again after it was terminated")

    def check_intensity(self, above: Life, path: str) -> None:
        """Each restart tries each child at most once; where it tries just one, we know when."""
        node, now = above.node, trio.current_time()
        alone = node.strategy in ALONE
        since = now - node.period + (0 if alone else MUCH)
        count = sum(
            sure and at >= since and (alone or tried == path) for at, tried, sure in above.attempts
        )
        if count > node.intensity:
            self.wrong(f"{above.path} makes restart {count} of {node.intensity} within its period")

    def told(self, life: Life, report: ours.Report) -> None:
        try:
            self.take(life, report)
        except Exception as exc:  # noqa: BLE001 - it would only be logged
            self.wrong(f"the watching of {report} failed: {exc!r}")

    def take(self, life: Life, report: ours.Report) -> None:
        life.reports.append(report)
        match report:
            case ours.SupervisorStarted():
                life.began = True
                if life.above is not None:
                    self.fill(life)
            case ours.GaveUp():
                life.gave_up = True
                since = report.time - life.node.period
                since -= 0 if life.node.strategy in ALONE else MUCH
                count = sum(at >= since for at, _, _ in life.attempts)
                if count < life.node.intensity:
                    self.wrong(f"{life.path} gives up after {count} of {life.node.intensity}")
            case ours.ProgressReport():
                self.check_progress(life, report)
            case ours.ChildTerminated():
                self.check_terminated(life, report)

    def check_progress(self, life: Life, report: ours.ProgressReport) -> None:
        known = [one.child for one in life.lives if one.began and one.child]
        if not any((c.id, c.incarnation) == (report.id, report.incarnation) for c in known):
            self.wrong(f"nobody has begun: {report}")

    def check_terminated(self, life: Life, report: ours.ChildTerminated) -> None:
        for one in life.lives:
            ended = one.began and one.over and not one.noticed and one.node.id == report.id
            if ended and one.child is not None and one.child.exit_reason == report.reason:
                one.noticed = True
                break
        else:
            self.wrong(f"nobody has ended so: {report}")
            return
        abnormal = report.reason.kind in ("killed", "error")
        again = report.restart == "permanent" or (report.restart == "transient" and abnormal)
        if again != (report.action in ("restart", "give_up")):
            self.wrong(f"that is not the rule: {report}")
        if report.restarts > report.intensity + 1 or (report.action == "give_up") != (
            again and report.restarts > report.intensity
        ):
            self.wrong(f"the count is wrong: {report}")

    def check_ended(self, life: Life, reason: object) -> None:
        """A supervisor has returned; it was not cancelled."""
        ends = [one for one in life.reports if isinstance(one, ours.SupervisorEnded)]
        if [one.reason for one in ends] != [reason]:
            self.wrong(f"{life.path} ended with {reason}, and reported {ends}")
        if life.gave_up and reason != ours.SHUTDOWN and not life.is_cancelled:
            self.wrong(f"{life.path} gave up and ended with {reason}")
        if life.is_cancelled:
            return
        began = sum(one.began for one in life.lives)
        failed = sum(not one.began and not one.ignored for one in life.lives)
        self.check_count(life, ours.ProgressReport, began)
        self.check_count(life, ours.StartError, failed)

    def check_count(self, life: Life, kind: type[ours.Report], count: int) -> None:
        told = sum(isinstance(one, kind) for one in life.reports)
        if told != count:
            self.wrong(f"{life.path} told of {told} x {kind.__name__}, and there were {count}")

    def is_called(self, above: Life, ops: tuple[str, ...], life: Life) -> bool:
        """Whether a call that may not be over yet could be why this happens to the child."""
        return any(
            call.life is above
            and call.op in ops
            and (call.gave_up or not call.answered)
            and call.about in (life.node.id, life.path)
            for call in self.calls
        )

    # What is done

    async def run(self) -> None:
        tree = self.program.tree
        with trio.move_on_after(1e9) as patience:
            async with trio.open_nursery() as self.callers:
                async with trio.open_nursery() as nursery:
                    root = Life(self, None, tree, "root")
                    nursery.start_soon(self.begin, nursery, root)
                    await wait_all_tasks_blocked()
                    for act in self.program.acts:
                        if self.broken:
                            break
                        await self.do(act, nursery)
                    if not self.cancelled:
                        await self.rest()
                        if root.ref is not None and not self.broken:
                            await self.last_stop(root)
                    if self.broken:
                        self.cancelled = True
                        nursery.cancel_scope.cancel()
                await wait_all_tasks_blocked()
                self.check_answers()
                if self.broken:
                    self.callers.cancel_scope.cancel()
        if patience.cancelled_caught:
            self.wrong("it hangs")
        if self.lives:
            self.wrong(f"all is over, and these live: {self.lives}")

    async def begin(self, nursery: trio.Nursery, root: Life) -> None:
        root.ref = await nursery.start(self.root_task, root)
        if root.ref is not None:
            self.fill(root)

    async def root_task(self, root: Life, *, task_status: Any) -> None:
        await self.root(root, task_status)

    def fill(self, pool: Life) -> None:
        for _ in range(pool.node.members):
            self.add_member(pool)

    async def last_stop(self, root: Life) -> None:
        assert root.ref is not None
        reason = await root.ref.stop()
        if root.ref.is_alive or reason != root.ref.reason:
            self.wrong(f"the root was stopped with {reason} and says {root.ref}")

    async def do(self, act: Act, nursery: trio.Nursery) -> None:
        match act.op:
            case "end":
                self.end(act.which, act.what)
            case "end_many":
                how, count = act.what
                for n in range(count):
                    self.end(act.which + n, how)
            case "script":
                starts, how = act.what
                life = self.chosen(self.workers(), act.which)
                if life is not None:
                    self.scripts[life.path] = deque(starts)
                    self.end(act.which, how)
            case "pulse":
                await self.pulse(act.which, *act.what)
            case "while it restarts":
                await self.while_it_restarts(act.which, *act.what)
            case "while it stops":
                await self.while_it_stops(act.which, act.what)
            case "stop way":
                life = self.chosen(self.workers(), act.which)
                if life is not None:
                    self.stops[life.path] = act.what
            case "kill supervisor":
                life = self.chosen([one for one in self.supervisors if one.child], act.which)
                if life is not None:
                    self.kill_supervisor(life)
            case "stop supervisor":
                life = self.chosen(self.callable(), act.which)
                if life is not None:
                    self.call(life, "stop")
            case "start_child":
                self.start_child(act)
            case "call":
                op, n = act.what
                life = self.chosen(self.callable(), act.which)
                if life is not None:
                    self.call(life, op, *self.argument(life, op, n))
            case "caller gives up":
                call = self.chosen([one for one in self.calls if not one.answered], act.which)
                if call is not None:
                    call.gave_up = True
                    call.scope.cancel()
            case "release":
                gate = self.chosen(list(self.held.values()), act.which)
                if gate is not None:
                    gate.set()
            case "release all":
                for gate in self.held.values():
                    gate.set()
            case "sleep":
                await trio.sleep(act.what)
            case "rest":
                await self.rest()
            case "cancel":
                self.cancelled = True
                nursery.cancel_scope.cancel()
                return
        if act.pace == "settle":
            await wait_all_tasks_blocked()
        elif act.pace == "step":
            await trio.lowlevel.checkpoint()

    async def pulse(self, which: int, how: str, pause: float, times: int) -> None:
        """The same child ends several times, perhaps exactly a period apart."""
        life = self.chosen(self.workers(), which)
        for _ in range(times if life else 0):
            self.end_life(self.lives.get(life.path), how)
            await wait_all_tasks_blocked()
            await trio.sleep(pause)

    async def while_it_restarts(
        self, which: int, starts: tuple[str, ...], meanwhile: tuple[str, ...]
    ) -> None:
        life = self.chosen(self.workers(), which)
        if life is None:
            return
        self.scripts[life.path] = deque(starts)
        self.end_life(life, "crash")
        await wait_all_tasks_blocked()
        for op in meanwhile:
            self.about(life, op, which)
        for _ in range(2):
            await wait_all_tasks_blocked()
            if life.path in self.held:
                self.held[life.path].set()

    async def while_it_stops(self, which: int, meanwhile: tuple[str, ...]) -> None:
        life = self.chosen(self.workers(), which)
        if life is None:
            return
        self.stops[life.path] = "linger"
        self.about(life, "terminate_child", which)
        for op in meanwhile:
            await wait_all_tasks_blocked()
            self.about(life, op, which)

    def about(self, life: Life, op: str, which: int) -> None:
        """Do something about a child, or to its supervisor."""
        above = life.above
        assert above is not None
        match op:
            case "end":
                self.end(which + 1, "crash")
            case "stop supervisor":
                self.call(above, "stop")
            case "kill supervisor":
                self.kill_supervisor(above)
            case "start_child":
                if above.node.strategy == POOL:
                    self.add_member(above)
                else:
                    self.call(above, op, self.spec(above, life.node), target=life.node.id)
            case "terminate_child" | "restart_child" | "delete_child" | "get_childspec":
                self.call(above, op, life if above.node.strategy == POOL else life.node.id)

    def kill_supervisor(self, life: Life) -> None:
        if life.child is not None:
            life.killed = True
            ours.kill(life.child)

    def add_member(self, life: Life) -> None:
        self.tags[life] += 1
        tag = f"t{self.tags[life]}"
        self.call(life, "start_child", tag, target=f"{life.path}/{tag}")

    def workers(self) -> list[Life]:
        return [one for one in self.lives.values() if one.began and not one.node.strategy]

    def callable(self) -> list[Life]:
        return [one for one in self.supervisors if self.ref(one) is not None]

    def ref(self, life: Life) -> ours.SupervisorRef | None:
        return life.child.supervisor if life.child is not None else life.ref

    def chosen(self, among: list[Any], which: int) -> Any:
        return among[which % len(among)] if among else None

    def end(self, which: int, how: str) -> None:
        self.end_life(self.chosen(self.workers(), which), how)

    def end_life(self, life: Life | None, how: str) -> None:
        if life is None or life.wake.is_set() or not life.began or life.node.strategy:
            return
        if how == "kill":
            life.killed = True
            ours.kill(life.child)
        else:
            life.command = how
            life.wake.set()

    def start_child(self, act: Act) -> None:
        life = self.chosen(self.callable(), act.which)
        if life is None:
            return
        if life.node.strategy == POOL:
            self.add_member(life)
        else:
            node, as_mapping = act.what
            if life.node.auto_shutdown == "never":
                node = attrs.evolve(node, significant=False)
            spec = self.spec(life, node)
            given = spec if as_mapping else ours.ChildSpec(**spec)
            self.call(life, "start_child", given, target=node.id)

    def argument(self, life: Life, op: str, n: int) -> tuple[object, ...]:
        if op in ("which_children", "count_children"):
            return ()
        if life.node.strategy == POOL and life.lives:
            return (self.chosen(life.lives, n),)
        return (self.chosen([*dict.fromkeys(spec.id for spec in life.specs), "nobody"], n),)

    def call(self, life: Life, op: str, *args: Any, target: object = None) -> None:
        if self.ref(life) is None:
            return  # it has not come so far that anybody could know it
        call = Call(op, life, target or (args[0] if args else None))
        call.overtakes = any(
            one.life is life and one.op in STARTING and (one.gave_up or not one.answered)
            for one in self.calls
        )
        self.calls.append(call)
        handles = [one.child if isinstance(one, Life) else one for one in args]
        self.callers.start_soon(self.ask, call, handles)

    async def ask(self, call: Call, args: list[Any]) -> None:
        ref = self.ref(call.life)
        with call.scope:
            try:
                call.answer = await getattr(ref, call.op)(*args)
            except ours.SupervisorError as exc:
                call.answer = exc
            call.answered = True

    # What is checked when all is quiet

    async def rest(self) -> None:
        """Let everything come to an end, held starts too; then look whether it fits together."""
        for _ in range(10_000):
            await wait_all_tasks_blocked()
            for gate in self.held.values():
                gate.set()
            busy = [one for one in self.lives.values() if one.is_ending]
            if not self.held and not busy and not self.is_paused():
                break
            await trio.sleep(0.25)
        else:
            self.wrong(f"it does not come to rest: {busy}")
        if not self.broken:
            self.check_answers()
            for life in [one for one in self.supervisors if not one.over]:
                await self.check_rows(life)

    def is_paused(self) -> bool:
        """Whether a restart may be waiting for the end of its pause."""
        reports = [report for one in self.supervisors if not one.over for report in one.reports]
        return any(
            isinstance(report, ours.ChildTerminated | ours.RetryScheduled)
            and report.time + report.pause > trio.current_time()
            for report in reports
        )

    def check_answers(self) -> None:
        for call in self.calls:
            if not call.answered and not call.gave_up:
                self.wrong(f"no answer to {call}")

    async def check_rows(self, life: Life) -> None:
        ref = self.ref(life)
        assert ref is not None
        rows, counts = await ref.which_children(), await ref.count_children()
        pool = life.node.strategy == POOL
        shown = {row.child for row in rows if row.child is not None}
        if shown != {one.child for one in life.alive}:
            self.wrong(f"{life.path} shows {shown} of {life.alive}")
        running = len(shown)
        if counts.active != running and not pool:  # in pools OTP's count is off, and so is ours
            self.wrong(f"{life.path} counts {counts}, and these run: {shown}")
        if counts.supervisors + counts.workers != len(rows):
            self.wrong(f"{life.path} counts {counts} in {rows}")
        if not pool:
            await self.check_specs(life, ref, rows)
        for one in life.lives:
            self.check_noticed(life, one)

    async def check_specs(
        self, life: Life, ref: ours.SupervisorRef, rows: list[ours.ChildInfo]
    ) -> None:
        specs = [await ref.get_childspec(row.id) for row in rows]
        places = [next(n for n, s in enumerate(life.specs) if s is spec) for spec in specs]
        if places != sorted(places, reverse=True):
            self.wrong(f"{life.path} has lost the order of its specs: {places}")
        # if the retry of one is called off, those that would have come after it stay where they are
        team = life.node.strategy != "one_for_one"
        for row, spec in zip(rows, specs, strict=True):
            stopped = any(
                call.op == "terminate_child"
                and call.life is life
                and (team or call.about == row.id)
                for call in self.calls
            )
            if row.child is None and spec.restart == "permanent":
                if not stopped and (life, row.id) not in self.ignored:
                    self.wrong(f"{life.path} does not run its permanent {row.id!r}")
            elif row.child is None and spec.restart == "temporary":
                self.wrong(f"{life.path} keeps the spec of its temporary {row.id!r}")

    def check_noticed(self, life: Life, one: Life) -> None:
        """Each end is reported, unless the supervisor made it, or found the child dead already
        when it stopped it: on a call, or for a sibling."""
        if not one.over or not one.began or one.noticed or one.asked:
            return
        if one.node.shutdown == "brutal_kill" and not one.killed and one.command is None:
            return
        if any(c.op == "terminate_child" and c.life is life for c in self.calls):
            return
        since = life.reports[one.seen :]  # it may have ended while the others were being stopped
        team = life.node.strategy not in ALONE
        if team and any(isinstance(r, ours.ChildTerminated | ours.RetryScheduled) for r in since):
            return
        self.wrong(f"{life.path} has not noticed the end of {one}")
