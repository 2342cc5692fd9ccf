"""Reports are data whose words tell what happened, what was done and by which rule."""

import logging

import pytest

from supervisors import (
    Backoff,
    ChildTerminated,
    ProgressReport,
    StartError,
    Supervisor,
    SupervisorEnded,
)


@pytest.mark.parametrize(
    ("restart", "ending", "words"),
    [
        ("permanent", "normal", "normal; it is permanent, so it is started again"),
        ("transient", "crash", "error: crash; it is transient, so it is started again"),
        ("transient", "normal", "normal; it is transient and ended normally, so it is not started"),
        ("temporary", "crash", "error: crash; it is temporary, so it is not started again"),
    ],
)
async def test_an_ending_is_told_with_its_rule(troupe, run, restart, ending, words):
    await run(troupe.supervisor(troupe.spec("a", restart=restart)))
    await troupe.end("a", ending)
    (report,) = troupe.told(ChildTerminated)
    assert str(report).startswith(f"root: 'a' ended: {words}")


async def test_a_restart_tells_who_else_and_how_much_of_the_intensity_is_used(troupe, run):
    await run(
        troupe.supervisor(
            "a", "b", troupe.spec("c", restart="temporary"), strategy="one_for_all", intensity=3
        )
    )
    await troupe.end("b", "crash")
    (report,) = troupe.told(ChildTerminated)
    assert str(report) == (
        "root: 'b' ended: error: crash; it is permanent, so it is started again with 'a', "
        "'c' only stopped (one_for_all; restart 1 of 3 in 5 s)"
    )
    assert (report.others, report.dropped) == (("a",), ("c",))


async def test_a_pause_is_told(troupe, run):
    await run(troupe.supervisor("a", intensity=9, backoff=Backoff(first=2, jitter=0)))
    await troupe.end("a", "crash")
    await troupe.end("a", "crash")
    assert "so it is started again in 2 s (one_for_one" in str(troupe.told(ChildTerminated)[1])


async def test_giving_up_is_told_before_it_happens(troupe, run):
    await run(troupe.supervisor("a", intensity=0))
    await troupe.end("a", "crash")
    assert [type(report).__name__ for report in troupe.reports] == [
        "ProgressReport",
        "SupervisorStarted",
        "ChildTerminated",
        "GaveUp",
        "SupervisorEnded",
    ]
    assert "restart 1 of 0 in 5 s, one too many" in str(troupe.reports[2])


async def test_auto_shutdown_is_told(troupe, run):
    spec = troupe.spec("a", restart="transient", significant=True)
    await run(troupe.supervisor(spec, auto_shutdown="any_significant"))
    await troupe.end("a", "normal")
    assert "it is significant, so the supervisor shuts down" in str(troupe.told(ChildTerminated)[0])


async def test_starts_and_their_errors_are_told(troupe, run):
    await run(troupe.supervisor("a", intensity=3))
    troupe.starts["a"].append("fail")
    await troupe.end("a", "crash")
    assert [str(report) for report in troupe.told(ProgressReport)] == [
        "root started 'a'",
        "root started 'a' again (start 2)",
    ]
    assert [str(report) for report in troupe.told(StartError)] == [
        "root: 'a' did not start: RuntimeError: no luck"
    ]


async def test_the_end_of_a_supervisor_is_told(troupe, run):
    ref = await run(troupe.supervisor("a"))
    await ref.stop()
    assert [str(report) for report in troupe.told(SupervisorEnded)] == ["root ended: shutdown"]


async def test_a_fault_of_the_observer_changes_nothing(troupe, run, caplog):
    def blind(report):
        raise ValueError("cannot see")

    ref = await run(Supervisor([troupe.spec("a")], on_report=blind))
    await troupe.end("a", "crash")
    assert troupe.running == {"a"}
    assert ref.is_alive
    assert "the on_report of root failed on: root started 'a'" in caplog.text


async def test_without_an_observer_reports_are_logged_by_their_weight(troupe, run, caplog):
    caplog.set_level(logging.DEBUG, "supervisors")
    await run(Supervisor([troupe.spec("a"), troupe.spec("b", restart="transient")]))
    await troupe.end("a", "crash")
    await troupe.end("b", "normal")
    levels = [(record.levelname, record.getMessage()[:17]) for record in caplog.records]
    assert levels == [
        ("DEBUG", "root started 'a'"),
        ("DEBUG", "root started 'b'"),
        ("DEBUG", "root is up"),
        ("ERROR", "root: 'a' ended: "),
        ("DEBUG", "root started 'a' "),
        ("INFO", "root: 'b' ended: "),
    ]


async def test_words_are_made_only_when_asked_for(troupe, run):
    class Silent:
        def __str__(self):
            raise AssertionError("nobody asked")

    from supervisors import ChildSpec, error

    async def life(child):
        child.started()
        return error(Silent())

    await run(
        Supervisor([ChildSpec("a", life, restart="temporary")], on_report=troupe.reports.append)
    )
    assert len(troupe.reports) >= 1
