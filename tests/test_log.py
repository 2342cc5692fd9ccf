"""Logs: every way to say something comes out in one form, with the plugin and the request."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from nexus_actors import log

ROOT = logging.getLogger()


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    before = (ROOT.level, [*ROOT.handlers])
    yield
    log.unconfigure()
    log._labels.clear()
    assert (ROOT.level, ROOT.handlers) == before


@pytest.fixture
def said() -> Any:
    """What was written so far, as parsed JSON objects."""
    stream = io.StringIO()
    log.configure(json=True, level="debug", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def text() -> Any:
    """What was written so far, in the form for people."""
    stream = io.StringIO()
    log.configure(json=False, level="debug", stream=stream)
    return stream.getvalue


def boom() -> None:
    raise ValueError("no such thing")


# Ways of saying something ---------------------------------------------------------------------


def test_every_way_of_calling_the_logger_comes_out(said: Any) -> None:
    logger = log.plugin_logger("my-shop")
    name, number = "Ann", 3
    logger.info("plain")
    logger.info("%s took %d", name, number)
    logger.info(f"{name} took {number}")
    logger.info("took", who=name, count=number)
    logger.info("%s took", name, count=number)
    logger.bind(order=7).info("bound")
    logging.getLogger("nexus_plugins.my_shop.plugin").info("%s took %d", name, number)
    assert [line["message"] for line in said()] == [
        "plain",
        "Ann took 3",
        "Ann took 3",
        "took",
        "Ann took",
        "bound",
        "Ann took 3",
    ]
    assert said()[3] | {"who": "Ann", "count": 3} == said()[3]
    assert said()[4]["count"] == 3
    assert said()[5]["order"] == 7
    assert {line["plugin"] for line in said()} == {"my-shop"}


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_every_level_is_named(text: Any, level: str) -> None:
    getattr(log.plugin_logger("shop"), level)("hello")
    assert f" {level} " in text()


def test_the_braces_and_percents_of_a_text_are_let_be(said: Any) -> None:
    log.plugin_logger("shop").info("100% of {x}")
    log.plugin_logger("shop").info("100% of {x}", key="50%")
    assert [line["message"] for line in said()] == ["100% of {x}"] * 2


class Mute:
    """Cannot be put into words."""

    def __repr__(self) -> str:
        raise RuntimeError("not now")


@pytest.mark.parametrize(
    ("text", "argument", "shown"),
    [
        ("%s and %s", 1, "%s and %s (its arguments do not fit: (1,))"),
        ("%d", "x", "%d (its arguments do not fit: ('x',))"),
        ("hello", "x", "hello (its arguments do not fit: ('x',))"),
        ("%s", Mute(), "%s (its arguments cannot be shown)"),
    ],
)
@pytest.mark.parametrize("formatter", [log.JsonFormatter(), log.ConsoleFormatter()])
def test_a_format_that_does_not_fit_hurts_nobody_and_loses_nothing(
    formatter: logging.Formatter, text: str, argument: object, shown: str
) -> None:
    """Asked of the formatter: pytest's own handler raises what the standard library swallows."""
    record = logging.LogRecord("shop", logging.INFO, __file__, 1, text, (argument,), None)
    line = formatter.format(record)
    assert shown in (json.loads(line)["message"] if line.startswith("{") else line)


def test_a_record_names_the_authors_line_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log.plugin_logger("shop").info("from %s", "here")
    (record,) = caplog.records
    assert record.funcName == "test_a_record_names_the_authors_line_not_ours"
    assert record.filename == "test_log.py"


# Tracebacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["structlog", "standard"])
@pytest.mark.parametrize("form", ["said", "text"])
def test_no_traceback_is_lost(request: pytest.FixtureRequest, by: str, form: str) -> None:
    out = request.getfixturevalue(form)
    structured = log.plugin_logger("shop")
    standard = logging.getLogger("nexus_plugins.shop.plugin")
    try:
        boom()
    except ValueError as error:
        (structured if by == "structlog" else standard).exception("it failed")
        (structured if by == "structlog" else standard).error("again", exc_info=error)
    shown = out() if form == "text" else "\n".join(line["exception"] for line in out())
    assert shown.count("ValueError: no such thing") == 2
    assert shown.count("in boom") == 2


def test_a_group_of_errors_is_shown_whole(said: Any) -> None:
    try:
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])
    except ExceptionGroup:
        log.plugin_logger("shop").exception("it failed")
    (line,) = said()
    assert "ValueError: one" in line["exception"]
    assert "KeyError: 'two'" in line["exception"]


# Whose and about what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logger", "plugin"),
    [
        ("nexus_plugins.shop", "shop"),
        ("nexus_plugins.my_first_plugin.plugin", "my-first-plugin"),
        ("nexus_plugins.my_first_plugin.deep.er", "my-first-plugin"),
        ("nexus_plugins", None),
        ("nexus_pluginsx.shop", None),
        ("packaged.plugin", "packaged-shop"),
        ("packaged", "packaged-shop"),
        ("packagedx", None),
        ("aiohttp.client", None),
        ("root", None),
    ],
)
def test_a_record_is_labelled_by_the_logger_it_came_from(
    said: Any, logger: str, plugin: str | None
) -> None:
    log.label("packaged", "packaged-shop")
    logging.getLogger(logger).info("hello")
    (line,) = said()
    assert line.get("plugin") == plugin


def test_a_library_speaks_for_the_plugin_in_whose_task_it_runs(said: Any) -> None:
    with log.bound(plugin="shop"):
        logging.getLogger("aiohttp.client").info("a library")
        logging.getLogger("nexus_plugins.other").info("its own")
    logging.getLogger("aiohttp.client").info("nobody's")
    assert [line.get("plugin") for line in said()] == ["shop", "other", None]
    assert not any("plugin_" in line for line in said())


def test_what_is_bound_is_on_every_record_of_the_block_and_no_other(said: Any) -> None:
    logger = log.plugin_logger("shop")
    with log.bound(request_id="r1"):
        logger.info("a")
        with log.bound(request_id="r2", trace="t"):
            logger.info("b")
        logger.info("c")
    logger.info("d")
    assert [line.get("request_id") for line in said()] == ["r1", "r2", "r1", None]
    assert [line.get("trace") for line in said()] == [None, "t", None, None]


def test_the_request_id_of_a_standard_loggers_extra_is_on_its_record(said: Any) -> None:
    logging.getLogger("nexus.http").info("a", extra={"request_id": "r1"})
    with log.bound(request_id="r2"):
        logging.getLogger("nexus.http").info("b", extra={"request_id": "r3"})
    assert [line.get("request_id") for line in said()] == ["r1", "r3"]


def test_what_was_bound_is_taken_back_by_its_token(said: Any) -> None:
    token = log.bind(request_id="r1")
    assert log.context() == {"request_id": "r1"}
    log.unbind(token)
    assert log.context() == {}


async def test_tasks_do_not_see_what_others_bind(said: Any) -> None:
    logger = log.plugin_logger("shop")

    async def work(name: str) -> None:
        with log.bound(request_id=name):
            await trio.testing.wait_all_tasks_blocked()
            logger.info("done", by=name)

    async with trio.open_nursery() as nursery:
        for name in ("r1", "r2", "r3"):
            nursery.start_soon(work, name)
    assert len(said()) == 3
    assert all(line["request_id"] == line["by"] for line in said())


# JSON -----------------------------------------------------------------------------------------


def test_a_line_of_json_has_these_words_in_this_order(said: Any) -> None:
    with log.bound(request_id="r1"):
        log.plugin_logger("shop").warning("hello", count=1)
    (line,) = said()
    assert list(line) == ["time", "level", "logger", "plugin", "message", "request_id", "count"]
    assert line["time"].endswith("Z")
    assert line["level"] == "warning"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, 3),
        ("a\nb", "a\nb"),
        (None, None),
        ({"a": [1]}, {"a": [1]}),
        (b"x", "b'x'"),
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ("\ud800", "\ud800"),
    ],
)
def test_a_value_json_cannot_hold_is_shown_by_its_repr(said: Any, value: Any, shown: Any) -> None:
    log.plugin_logger("shop").info("hello", value=value)
    (line,) = said()
    assert line["value"] == shown


def test_a_value_that_cannot_be_shown_costs_no_record(text: Any) -> None:
    log.plugin_logger("shop").info("hello", value=Mute())
    assert "value='<Mute that cannot be shown>'" in text()


def test_a_value_that_cannot_be_shown_costs_no_line_of_json(said: Any) -> None:
    log.plugin_logger("shop").info("hello", value=Mute())
    assert said()[0]["value"] == "<Mute that cannot be shown>"


def test_a_value_that_holds_itself_still_makes_a_line(said: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    log.plugin_logger("shop").info("hello", value=loop)
    assert said()[0]["value"] == "[[...]]"


@pytest.mark.parametrize("key", ["time", "level", "logger", "message", "exception"])
def test_an_authors_key_takes_the_place_of_none_of_ours(said: Any, key: str) -> None:
    log.plugin_logger("shop").info("hello", **{key: "mine"})
    (line,) = said()
    assert line[f"{key}_"] == "mine"
    assert line.get(key) != "mine"


def test_one_record_is_one_line_whatever_is_in_it(said: Any) -> None:
    log.plugin_logger("shop").info("a\nb\r\n\u2028c", key="x\ny")
    assert len(said()) == 1


# For people -----------------------------------------------------------------------------------


def test_the_line_for_people_has_all_of_it(text: Any) -> None:
    with log.bound(request_id="r1"):
        log.plugin_logger("shop").info("hello", count=1, words="a b")
    time, rest = text().rstrip("\n").split(" ", 1)
    assert len(time) == len("12:34:56.789")
    assert rest == "info     shop             hello  count=1  words='a b'  request_id=r1"


def test_the_line_for_people_names_the_logger_where_no_plugin_speaks(text: Any) -> None:
    logging.getLogger("aiohttp.client").info("hello")
    assert " info     aiohttp.client   hello" in text()


def test_an_empty_value_is_seen_to_be_empty(text: Any) -> None:
    log.plugin_logger("shop").info("hello", name="")
    assert text().endswith("hello  name=''\n")


def test_a_stack_is_shown_below(said: Any) -> None:
    log.plugin_logger("shop").info("hello", stack_info=True)
    assert "Stack (most recent call last)" in said()[0]["exception"]


def test_a_client_cannot_forge_a_line_or_steer_the_terminal(text: Any) -> None:
    evil = "x\n12:00:00.000 error    shop  all is lost \x1b[2J\x9b\x07"
    log.plugin_logger("shop").info(evil, key=evil)
    lines = text().splitlines()
    assert all(line.startswith("  ") for line in lines[1:])
    assert "\x1b" not in text()
    assert "\x9b" not in text()
    assert "\\x1b[2J" in text()


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, plain, quiet = Terminal(), io.StringIO(), Terminal()
    log.configure(stream=terminal)
    log.plugin_logger("shop").info("hello")
    log.configure(json=False, stream=plain)
    log.plugin_logger("shop").info("hello")
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure(stream=quiet)
    log.plugin_logger("shop").info("hello")
    assert "\x1b[32m" in terminal.getvalue()
    assert "\x1b" not in plain.getvalue() + quiet.getvalue()
    assert "hello" in plain.getvalue()
    assert "hello" in quiet.getvalue()


def test_without_a_word_a_file_gets_json_and_a_terminal_gets_words() -> None:
    stream = io.StringIO()
    log.configure(stream=stream)
    log.plugin_logger("shop").info("hello")
    assert json.loads(stream.getvalue())["message"] == "hello"


# Setting up -----------------------------------------------------------------------------------


def test_configuring_twice_writes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    log.configure(json=True, stream=first)
    log.configure(json=True, stream=second)
    log.configure(json=True, stream=second)
    log.plugin_logger("shop").info("hello")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_handlers_of_others_stay() -> None:
    other = logging.NullHandler()
    ROOT.addHandler(other)
    try:
        log.configure(json=True, stream=io.StringIO())
        assert other in ROOT.handlers
        log.unconfigure()
        assert other in ROOT.handlers
    finally:
        ROOT.removeHandler(other)


def test_taking_it_away_gives_the_root_its_level_back() -> None:
    ROOT.setLevel(logging.ERROR)
    try:
        log.configure(json=True, level="debug", stream=io.StringIO())
        log.configure(json=True, level="info", stream=io.StringIO())
        log.unconfigure()
        assert ROOT.level == logging.ERROR
        log.unconfigure()
        assert ROOT.level == logging.ERROR
    finally:
        ROOT.setLevel(logging.WARNING)


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", 3), ("INFO", 2), (logging.INFO, 2), ("error", 0), ("critical", 0)],
)
def test_what_is_below_the_level_is_not_written(level: str | int, written: int) -> None:
    stream = io.StringIO()
    log.configure(json=True, level=level, stream=stream)
    logger = log.plugin_logger("shop")
    logger.debug("a")
    logger.info("b")
    logging.getLogger("nexus_plugins.shop.plugin").info("c")
    assert len(stream.getvalue().splitlines()) == written


def test_a_level_that_is_none_is_refused_before_anything_changes() -> None:
    with pytest.raises(ValueError, match="no log level 'loud'; use debug, info"):
        log.configure(level="loud")
    assert log._handler is None


def test_stderr_is_what_it_is_at_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    replaced, before = io.StringIO(), sys.stderr
    sys.stderr = replaced
    try:
        log.plugin_logger("shop").info("hello")
    finally:
        sys.stderr = before
    log.plugin_logger("shop").info("again")
    assert "hello" in replaced.getvalue()
    assert "again" in capsys.readouterr().err


# Without any set-up: unit tests ---------------------------------------------------------------


def test_unconfigured_it_installs_nothing_and_caplog_sees_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = [*ROOT.handlers]
    caplog.set_level("INFO")
    log.plugin_logger("my-shop").info("%s took", "Ann", count=3)
    log.plugin_logger("my-shop").info("took", share="50%")
    log.plugin_logger("my-shop").error("plain 100%")
    assert caplog.messages == ["Ann took count=3", "took share='50%'", "plain 100%"]
    assert caplog.records[0].name == "nexus_plugins.my_shop"
    assert ROOT.handlers == before


def test_configured_caplog_still_sees_all(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    log.plugin_logger("my-shop").warning("%s took", "Ann", count=3)
    assert caplog.messages == ["Ann took"]
    assert caplog.records[0].nexus_fields == {"count": 3}
    assert len(said()) == 1


def test_unconfigured_a_level_that_is_off_costs_no_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("formatted for nobody")

    caplog.set_level("ERROR")
    log.plugin_logger("shop").info("hello", value=Loud())
    assert caplog.records == []
