"""Replay supervision scenarios, recorded on real Erlang/OTP, on our supervisors; say what differs.

    python -m tests.semantics.replay FILE...

``FORMAT.md`` says what a scenario is. This file builds the tree from the public API, takes the
steps one after the other on a mocked clock and writes down what happened; ``compare.py`` judges. It
knows nothing of supervision: it makes workers that do as the scenario's scripts and behaviours say,
names processes by path and count, and turns milliseconds into seconds and back.
"""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from collections import Counter, deque
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisors as ours

Json = Any
Handle = ours.Child | None  # the root is nobody's child
compare = runpy.run_path(str(Path(__file__).with_name("compare.py")))["compare"]

PATIENCE = 1e6  # seconds of mocked time; nothing in a scenario takes so long unless it hangs
COUNTS = ("specs", "active", "supervisors", "workers")
FIELDS = ("id", "restart", "significant", "shutdown", "type")
ENDINGS = {
    "crash": ours.error("crash"),
    "normal": ours.NORMAL,
    "shutdown": ours.SHUTDOWN,
    "shutdown_info": ours.shutdown_with("info"),
}


class Turns:
    """Lets several workers end in a given order, all before anybody can react to the first.

    Trio runs the tasks that became ready together either in their order or in the reverse of it, by
    chance. So the workers pass until a round comes in which the first of them runs first.
    """

    def __init__(self, order: list[Process]) -> None:
        self.order, self.ran, self.go = order, 0, False

    async def wait(self, process: Process) -> None:
        with trio.CancelScope(shield=True):
            while True:
                self.go = self.go if self.ran else process is self.order[0]
                self.ran = (self.ran + 1) % len(self.order)
                if self.go:
                    return
                await trio.lowlevel.cancel_shielded_checkpoint()


class Process:
    """A process of the scenario: one that has started successfully."""

    def __init__(self, path: str, n: int, child: Handle) -> None:
        self.path, self.n, self.child = path, n, child
        self.ended: Json = None  # the reason, as a term
        self.wake = trio.Event()
        self.command: ours.ExitReason | None = None
        self.turns: Turns | None = None
        self.name = f"{path.rsplit('/', 1)[-1]}#{n}"


class Replay:
    """One run of one scenario."""

    def __init__(self, scenario: Json) -> None:
        self.scenario = scenario
        self.scripts = {path: deque(v) for path, v in scenario.get("scripts", {}).items()}
        self.behave: dict[str, Json] = dict(scenario.get("behave", {}))
        self.count: Counter[str] = Counter()
        self.latest: dict[str, Process] = {}
        self.by_child: dict[Handle, Process] = {}
        self.root_ref: ours.SupervisorRef | None = None
        self.held: dict[str, trio.Event] = {}
        self.stopping = 0  # workers that were asked to stop and have not ended
        self.some_stopped = trio.Event()
        self.number = 0  # of the step being taken
        self.events: list[Json] = []
        self.late: list[Json] = []
        self.start_result: Json = "pending"

    # Specs

    def supervisor(self, path: str, given: Json, child: Handle = None) -> ours.Supervisor:
        def init() -> object:
            if given.get("init") == "raise":
                raise RuntimeError("boom")
            if "init" in given:
                return {"ignore": ours.IGNORE, "bad_return": "invalid"}[given["init"]]
            flags = {key: value for key, value in given.items() if key != "children"}
            return flags, [self.spec(path, child) for child in given.get("children", [])]

        process: Process | None = None

        def on_report(report: ours.Report) -> None:
            nonlocal process
            if isinstance(report, ours.SupervisorStarted):
                process = self.begin(path, child)
            elif isinstance(report, ours.SupervisorEnded) and process is not None:
                self.finish(process, report.reason)

        return ours.Supervisor.from_init(init, on_report=on_report)

    def spec(self, path: str, given: Json) -> Json:
        """A scenario's child spec as our API takes it; what is wrong with it stays wrong."""
        if not isinstance(given, dict) or not given:
            return given
        spec = {key: value for key, value in given.items() if key not in ("sup", "start")}
        if type(spec.get("shutdown")) is int:
            spec["shutdown"] /= 1000

        async def start(child: ours.Child, tag: object = given.get("id")) -> object:
            """A pool's child gets its tag as an argument; any other is called by its id."""
            own = f"{path}/{tag}"
            if "sup" in given:
                return await self.nested(own, given["sup"], child)
            return await self.worker(own, child)

        if given.get("start") != "missing":
            spec["start"] = "mfa" if given.get("start") == "bad" else start
        return spec

    # Processes

    async def outcome(self, path: str) -> tuple[object, object]:
        """Take the next outcome of the path's script: what a start that fails returns (else None),
        and the extra value of one that does not."""
        script = self.scripts.get(path)
        outcome = script.popleft() if script else "ok"
        if outcome.startswith("hold_"):
            self.events.append(["start_hold", path])
            self.held[path] = trio.Event()
            try:
                await self.held[path].wait()
            finally:
                del self.held[path]
        outcome = outcome.removeprefix("hold_")
        if outcome in ("ok", "extra"):
            return None, outcome if outcome == "extra" else None
        self.events.append(["start_ignore" if outcome == "ignore" else "start_error", path])
        if outcome == "raise":
            raise RuntimeError("boom")
        returned = {"ignore": ours.IGNORE, "error": ours.error("boom"), "garbage": "weird"}
        return returned[outcome], None

    def ref(self, process: Process | None) -> ours.SupervisorRef | None:
        """What a process that is a supervisor is called by."""
        child = process and process.child
        return child.supervisor if child else self.root_ref if process else None

    def begin(self, path: str, child: Handle) -> Process:
        self.count[path] += 1
        process = Process(path, self.count[path], child)
        self.latest[path] = self.by_child[child] = process
        self.events.append(["start", path, process.n])
        return process

    def finish(self, process: Process, reason: ours.ExitReason | None) -> None:
        """Write down the end, with the reason the supervisor sees; None where it was cancelled."""
        process.ended = "killed" if reason is None else self.plain(reason.term)
        self.events.append(["stop", process.path, process.n, process.ended])

    async def worker(self, path: str, child: ours.Child) -> object:
        failed, extra = await self.outcome(path)
        if failed is not None:
            return failed
        process = self.begin(path, child)
        child.started(extra)
        reason: ours.ExitReason | None = None
        try:
            reason = await self.work(process, child)
        finally:
            if process.turns is not None:
                await process.turns.wait(process)
            if child.stop_requested:
                self.stopping -= 1
                self.some_stopped.set()
            self.finish(process, reason)
        raise ours.Exit(reason)

    async def work(self, process: Process, child: ours.Child) -> ours.ExitReason:
        """Wait for a command or a stop request; the behaviour says what the latter does."""

        def stop() -> None:
            self.stopping += 1
            process.wake.set()

        child.on_stop(stop)
        await process.wake.wait()
        if process.command is not None:
            return process.command
        match self.behave.get(process.path):
            case ["exit_as", how]:
                return ENDINGS[how]
            case ["linger", ms]:
                await trio.sleep(ms / 1000)
            case "ignore":
                await trio.sleep_forever()
        return ours.SHUTDOWN

    async def nested(self, path: str, given: Json, child: ours.Child) -> object:
        failed, extra = await self.outcome(path)
        if failed is not None:
            return failed
        reason = await self.supervisor(path, given, child).run_under(child, extra)
        if child.state == "starting":
            self.events.append(["start_ignore" if reason is ours.IGNORE else "start_error", path])
        return reason

    async def root(self, given: Json) -> None:
        try:
            self.root_ref = await self.nursery.start(self.supervisor("root", given).run)
        except ours.StartFailed as exc:
            self.events.append(["start_error", "root"])
            self.start_result = ["error", self.plain(exc.term)]
        else:
            self.start_result = "ok" if self.root_ref else "ignore"
            self.events += [] if self.root_ref else [["start_ignore", "root"]]

    # Steps

    async def run(self) -> list[Json]:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self.root, self.scenario["root"])
                await self.quiet()
                trace = [await self.record(self.start_result)]
                for step in self.scenario["steps"]:
                    self.number, self.events, self.late = self.number + 1, [], []
                    trace.append(await self.record(await self.step(step)))
                self.events = []  # the end of the replay is no part of the trace
                self.nursery.cancel_scope.cancel()
        return trace

    async def quiet(self) -> None:
        """Wait until nothing moves, and nobody who was asked to stop is still at it."""
        await wait_all_tasks_blocked()
        while self.stopping:
            self.some_stopped = trio.Event()
            await self.some_stopped.wait()
            await wait_all_tasks_blocked()

    async def record(self, result: Json) -> Json:
        root = self.latest.get("root")
        state = "not_started" if root is None else ["exited", root.ended] if root.ended else "alive"
        record = {"r": result, "ev": self.events, "root": state, "late": self.late}
        record["tree"] = None if self.held else {}
        for process in list(self.latest.values()):
            ref = self.ref(process)
            if ref is not None and ref.is_alive and not self.held:
                rows = self.plain(await ref.which_children())
                record["tree"][process.path] = [row[:2] for row in rows]
        return record

    async def step(self, step: Json) -> Json:
        result: Json = "ok"
        match step["op"]:
            case "exit" | "exit_many":
                result = self.end(step.get("children") or [step["child"]], step["how"])
            case "script":
                self.scripts[step["child"]] = deque(step["starts"])
            case "behave":
                self.behave[step["child"]] = step["on_shutdown"]
            case "release" if step["child"] in self.held:
                self.held[step["child"]].set()
            case "sleep":
                await trio.sleep(step["ms"] / 1000)
            case "stop" if self.root_ref is not None and self.root_ref.is_alive:
                self.nursery.start_soon(self.root_ref.stop)
            case "release" | "stop":
                result = "not_held" if step["op"] == "release" else "not_running"
            case _:
                return await self.call(step)
        await self.quiet()
        return result

    def end(self, paths: list[str], how: str) -> str:
        processes = [p for path in paths if (p := self.latest.get(path)) and not p.ended]
        turns = Turns([process for process in processes if self.ref(process) is None])
        for process in processes:
            process.turns = turns
            if how == "kill":
                ours.kill(process.child or self.root_ref)  # type: ignore[arg-type]
            else:
                process.command = ENDINGS[how]
                process.wake.set()
        return "ok" if processes else "not_running"

    async def call(self, step: Json) -> Json:
        """Call a supervisor; what it answers later than now is written down as late."""
        ref = self.ref(self.latest.get(step["sup"]))
        if ref is None:
            return ["exit", "noproc"]  # there never was one to call
        number, answers = self.number, []

        async def ask() -> None:
            try:
                answer = self.plain(await self.ask(ref, step["op"], step))
            except ours.SupervisorError as exc:
                answer = ["exit" if isinstance(exc, ours.NoProc) else "error", self.plain(exc.term)]
            answers.append(answer)
            if self.number != number:
                self.late.append([number, answer])

        self.nursery.start_soon(ask)
        await self.quiet()
        return answers[0] if answers else "pending"

    async def ask(self, ref: ours.SupervisorRef, op: str, step: Json) -> object:
        if op in ("which_children", "count_children"):
            return await getattr(ref, op)()
        argument = step.get("id", step.get("tag"))
        if "spec" in step:
            argument = self.spec(step["sup"], step["spec"])
        elif "pid" in step:
            argument = self.latest[step["pid"]].child
        answer = await getattr(ref, op)(argument)
        if op in ("terminate_child", "delete_child"):
            return "ok"
        extra = [answer.extra] if isinstance(answer, ours.Child) and answer.extra else []
        return ["ok", "undefined" if answer is None else answer, *extra]

    # Words

    def plain(self, value: object) -> Json:
        """A value of our API as FORMAT.md writes it."""
        match value:
            case ours.Child():
                return self.by_child[value].name
            case ours.Failure():
                return ["EXIT", [value.message, "stack"]]
            case ours.ChildInfo():
                return [value.id, self.plain(value.child) or "undefined", value.type]
            case ours.ChildCounts():
                return {name: getattr(value, name) for name in COUNTS}
            case ours.ChildSpec():
                spec = {name: getattr(value, name) for name in FIELDS}
                return spec | {"shutdown": milliseconds(spec["shutdown"])}
            case ["invalid_shutdown", shutdown]:
                return ["invalid_shutdown", milliseconds(shutdown)]
            case list() | tuple():
                return [self.plain(one) for one in value]
        return value


def milliseconds(seconds: Json) -> Json:
    return round(seconds * 1000) if type(seconds) in (int, float) else seconds


def differences(name: str, line: str) -> list[str]:
    """Where a replay of the scenario differs from its trace; that it cannot be replayed, too."""
    try:
        scenario = json.loads(line)
        trace = trio.run(Replay(scenario).run, clock=MockClock(autojump_threshold=0))
        found = compare(scenario, trace)
    except json.JSONDecodeError as exc:
        return [f"{name} is no JSON: {exc}"]
    except Exception:  # noqa: BLE001 - a boundary: the other scenarios are replayed all the same
        return [f"{name} could not be replayed:\n{traceback.format_exc()}"]
    steps = ["the start", *map(json.dumps, scenario["steps"])]
    return [
        f"{name}, step {step} ({steps[step]}), {field}\n"
        f"    OTP:  {json.dumps(expected)}\n    ours: {json.dumps(got)}"
        for step, field, expected, got in found
    ]


def main(files: list[str]) -> int:
    """Replay the scenarios of these files; print the differences and how many agree."""
    if not files:
        print("usage: python -m tests.semantics.replay FILE...", file=sys.stderr)
        return 2
    lines, unread, agree = [], 0, 0
    for file in files:
        try:
            lines += [line for line in Path(file).read_text("utf-8").split("\n") if line.strip()]
        except (OSError, ValueError) as exc:
            unread += 1
            print(f"{file} cannot be read: {exc}")
    for number, line in enumerate(lines, 1):
        words = differences(f"scenario {number}", line)
        agree += not words
        print("".join(f"{each}\n" for each in words), end="")
    print(f"{agree} of {len(lines)} agree")
    return 0 if agree == len(lines) and not unread else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
