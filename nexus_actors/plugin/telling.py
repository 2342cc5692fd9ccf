"""Tells what happens to one plugin: its supervisor's reports and its keeper's decisions become the
plugin's own reports, which are kept in its history and logged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import trio

from nexus_actors import log
from nexus_actors.actors import ActorCell
from nexus_actors.actors.faults import failure_of
from nexus_actors.errors import Invalid
from nexus_actors.plugin.library import AsyncLibrary, library_hint
from nexus_actors.plugin.reports import (
    Crashed,
    Down,
    Ended,
    NotStarted,
    NotStopped,
    PluginReport,
    Senders,
    Started,
    Waiting,
    place_in,
    summary,
    trimmed,
)
from supervisors import (
    ChildTerminated,
    ExitReason,
    Failure,
    ProgressReport,
    Report,
    RetryScheduled,
    ShutdownError,
    StartError,
)

__all__ = ["Teller"]

TOLD_AT_ONCE = 1.0
"""Seconds of a pause before a restart that callers are told of, instead of waiting for its end."""


class Teller:
    """What one plugin's keeper tells, and what it must know of what was told."""

    def __init__(
        self, cell: ActorCell, folder: Path | None, library: AsyncLibrary = "trio"
    ) -> None:
        """``folder`` is the plugin's own: its places are the ones that are named. ``library`` is
        what runs it."""
        self._cell = cell
        self._library: AsyncLibrary = library
        self._folder = folder
        self._logger = log.plugin_logger(cell.name)
        self._counted = (0, 0, 0)
        """What was told already of the cell's counters: cut, turned away, letters."""
        self._not_started: StartError | None = None
        """A failed start that the next report will tell of: what is done about it is known then."""
        self._untold: Failure | None = None
        """The failure behind :attr:`last_crash` while no report has told it with its places."""
        self._dropped = ""
        """Why the plugin itself is stopped and, being temporary, not started with its service."""
        self._up_at = math.inf
        """When the present incarnation came up."""
        self.longest_run = 0.0
        """Seconds that an incarnation of this life of the subtree has run at most."""
        self.last_crash = ""
        """The last failure of this life of the subtree in one line; empty while there is none."""

    def begin(self) -> None:
        """A new life of the subtree begins."""
        self.last_crash = ""
        self._untold = self._not_started = None
        self._dropped, self._up_at, self.longest_run = "", math.inf, 0.0

    def on_report(self, report: Report) -> None:
        """Take a report of the plugin's own supervisor."""
        if self._dropped:  # by now it has been stopped
            self.ended(self._dropped)
            self._dropped = ""
        match report:
            case ProgressReport(id="plugin"):
                self._up_at = report.time
                self._tell(
                    Started(
                        time=report.time,
                        incarnation=self._cell.incarnation,
                        senders=self._senders(they_wait=False),
                    )
                )
            case ChildTerminated():
                self._terminated(report)
            case StartError():
                self.last_crash, self._untold = self._start_error(report)
                self._not_started = report
            case RetryScheduled() if self._not_started is not None:
                self._retry(self._not_started, report)
            case ShutdownError():
                self._not_stopped(report)
            case _:
                self._logger.debug(str(report))

    def waits(self, why: str) -> None:
        """It does not start yet."""
        if not (self._cell.state == "waiting" and self._cell.reason == why):
            self._cell.enter("waiting", why)
            self._tell(Waiting(time=trio.current_time(), why=why))

    def broke(self, error: BaseException) -> None:
        """The subtree itself could not be: its object could not be made, or its loop broke."""
        if isinstance(error, Invalid):
            self.last_crash = "; ".join(map(str, error.faults))
        else:
            self._untold = failure_of(error)
            self.last_crash = self._line(self._untold)

    def down(
        self, state: Literal["failed", "suspended"], why: str, tries: int, pause: float
    ) -> None:
        """It is given a rest of ``pause`` seconds; its callers are told."""
        now = trio.current_time()
        self._cell.enter(state, why, next_try=now + pause)
        self._tell(
            Down(
                time=now,
                state=state,
                why=why,
                failure=self._untold,
                tries=tries,
                pause=pause,
                senders=self._senders(),
            )
        )

    def ended(self, why: str) -> None:
        """It is not started again, as its restart type says."""
        self._cell.enter("stopped", why)
        self._tell(Ended(time=trio.current_time(), why=why, senders=self._senders()))

    # -- the supervisor's reports ----------------------------------------------------------------

    def _terminated(self, report: ChildTerminated) -> None:
        failure = report.reason.failure
        if report.reason.abnormal:
            self.last_crash, self._untold = self._of(report.reason), None
        is_plugin = report.id == "plugin"
        if not is_plugin and report.reason.abnormal:
            self._cell.crashes += 1  # one of its parts is a part of it
        gives_up = report.action == "give_up"
        handling = self._cell.crashed_on if is_plugin else ""
        self._tell(
            Crashed(
                time=report.time,
                child=str(report.id),
                abnormal=report.reason.abnormal,
                handling=handling,
                why=self._why(report.reason),
                place="" if failure is None else place_in(self._folder, failure),
                failure=failure,
                rule=report.consequence,
                restarts=report.restarts,
                intensity=report.intensity,
                period=report.period,
                senders=self._senders(they_wait=not gives_up),
            )
        )
        if is_plugin or "plugin" in report.others or gives_up:
            self.longest_run = max(self.longest_run, report.time - self._up_at)
            self._up_at = math.inf
        if "plugin" in report.dropped:
            self._cell.ending = True
            self._dropped = f"temporary: its {report.id} crashed"
        if report.pause >= TOLD_AT_ONCE:
            self._rest(report.time + report.pause)
        if is_plugin and report.action in ("leave", "forget"):
            # transient or temporary: nobody starts it again, and its callers learn it at once
            self.ended(f"{report.restart}: {report.reason}")

    def _start_error(self, report: StartError) -> tuple[str, Failure | None]:
        words = self._of(report.reason)
        if report.id != "plugin":
            self._cell.crashes += 1
            words = f"its {report.id} did not start: {words}"
        return words, report.reason.failure

    def _retry(self, failed: StartError, report: RetryScheduled) -> None:
        self._not_started = self._untold = None
        failure = failed.reason.failure
        when = f"in {report.pause:.3g} s" if report.pause else "at once"
        self._tell(
            NotStarted(
                time=report.time,
                child=str(failed.id),
                why=self._why(failed.reason),
                place="" if failure is None else place_in(self._folder, failure),
                failure=failure,
                rule=f"it is tried again {when} ({report.restarts} of {report.intensity} restarts "
                f"in {report.period:g} s are used)",
            )
        )
        if report.pause >= TOLD_AT_ONCE:
            self._rest(report.time + report.pause)

    def _rest(self, until: float) -> None:
        """Its supervisor starts it again later: callers learn when, instead of waiting for it."""
        self._cell.enter("suspended", self.last_crash, next_try=until)

    def _not_stopped(self, report: ShutdownError) -> None:
        limit = report.shutdown
        failure = report.reason.failure
        self._tell(
            NotStopped(
                time=report.time,
                child=str(report.id),
                why=self._why(report.reason),
                place="" if failure is None else place_in(self._folder, failure),
                failure=failure,
                shutdown=limit if isinstance(limit, str) else f"within {limit:g} s",
            )
        )

    # -- telling ---------------------------------------------------------------------------------

    def _tell(self, report: PluginReport) -> None:
        self._cell.history.add(report)
        failure: Failure | None = getattr(report, "failure", None)
        if failure is None or (isinstance(report, Crashed) and report.handling):
            # where it was handling a message, that was logged with its traceback
            self._logger.log(report.level, str(report))
        else:
            places = trimmed(self._folder, failure).words()
            self._logger.log(report.level, str(report), traceback=places)

    def _senders(self, *, they_wait: bool = True) -> Senders:
        cell = self._cell
        now = (cell.callers_cut, cell.callers_turned_away, cell.letters)
        cut, turned_away, letters = (new - old for new, old in zip(now, self._counted, strict=True))
        self._counted = now
        return Senders(
            cut=cut,
            turned_away=turned_away,
            letters=letters,
            waiting=cell.mailbox.waiting if they_wait else 0,
        )

    def _of(self, reason: ExitReason) -> str:
        return str(reason) if reason.failure is None else self._line(reason.failure)

    def _why(self, reason: ExitReason) -> str:
        return str(reason) if reason.failure is None else summary(reason.failure)

    def _line(self, failure: Failure) -> str:
        """One line about a failure, with the innermost place in the plugin's own files."""
        place = place_in(self._folder, failure)
        words = f"{summary(failure)} ({place})" if place else summary(failure)
        hint = library_hint(self._library, str(failure))
        return f"{words}; {hint}" if hint else words
