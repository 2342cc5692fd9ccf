"""Where the guide itself is in error: which line, why, and what it does there as it stands.

The blocks run here without what they forgot, on their own lines of the guide, so that a traceback
speaks of the guide. Errors that only a node shows are in the tests of the block concerned.
"""

import sys
import traceback
from unittest.mock import AsyncMock

import pytest
from guide_blocks import renamed, unbound_names


def run_as_it_stands(guide, name: str) -> dict:
    """Run a block with nothing added, its lines numbered as in the guide; return its names."""
    block = guide[name]
    code = compile("\n" * (block.line - 1) + renamed(block.text), str(guide.path), "exec")
    names = {"__name__": f"guide_{name.replace('-', '_')}"}
    exec(code, names)
    return names


def line_in_guide(guide, error: BaseException) -> int:
    """The guide's line at which an error arose."""
    return [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(guide.path)
    ][-1]


@pytest.mark.parametrize(
    ("name", "at", "missing", "why"),
    [
        ("external-api", "-> Dict[str, Any]:", "Dict", "annotations are evaluated; so is Any"),
        ("notifications", '@post("/notifications/send")', "post", "so is asyncio, further up"),
        ("communication", "class CommunicatingPlugin(Plugin)", "Plugin", "so are Dict and Any"),
        ("middleware", "class MyPlugin(Plugin)", "Plugin", "so is time, in the middleware"),
    ],
)
def test_a_forgotten_import_keeps_the_module_from_being_imported(guide, name, at, missing, why):
    with pytest.raises(NameError, match=f"'{missing}' is not defined") as caught:
        run_as_it_stands(guide, name)
    assert line_in_guide(guide, caught.value) == guide[name].line_of(at), why


async def test_the_data_processor_forgot_datetime_and_says_so_only_in_its_log(guide):
    """Its line 356 uses `datetime`, never imported. `except Exception` around it takes the
    NameError for an error in the data: every event is lost, and the plugin looks healthy."""
    block = guide["data-processor"]
    plugin = run_as_it_stands(guide, "data-processor")["DataProcessorPlugin"]({})
    with pytest.raises(NameError, match="'datetime' is not defined") as caught:
        await plugin.transform_data({"id": 1, "value": "a"})
    assert line_in_guide(guide, caught.value) == block.line_of("datetime.utcnow()") == 356
    plugin.db, plugin.emit_event, plugin.logger = AsyncMock(), AsyncMock(), Log()
    await plugin.process_batch([{"id": 1, "value": "a"}])
    assert plugin.logger.errors == ["Error processing data: name 'datetime' is not defined"]
    plugin.db.execute.assert_not_called()


def test_the_data_processor_writes_to_a_table_that_nothing_makes(guide):
    """Line 364 inserts into processed_data; no block and no sentence of the guide creates it."""
    assert guide["data-processor"].line_of("INSERT INTO processed_data") == 364
    everything = guide.path.read_text(encoding="utf-8")
    assert everything.count("processed_data (") == 1
    assert "CREATE TABLE" not in guide["data-processor"].text


@pytest.mark.parametrize(("name", "line"), [("data-processor", 356), ("unit-tests", 658)])
def test_utcnow_is_deprecated_and_warns_from_python_3_12_on(guide, name, line):
    """It gives a time without its zone. Where warnings are errors it raises, and inside the
    data processor's `except Exception` that, too, would be an error in the data."""
    assert guide[name].line_of("datetime.utcnow()") == line
    if sys.version_info >= (3, 12):
        from datetime import datetime

        with pytest.warns(DeprecationWarning, match="utcnow"):
            datetime.utcnow()


@pytest.mark.parametrize(
    ("name", "missing", "fragment", "line"),
    [
        ("unit-tests", "datetime", "datetime.utcnow()", 658),
        ("integration-tests", "asyncio", "await asyncio.sleep", 781),
    ],
)
def test_the_guides_tests_use_what_they_never_import(guide, name, missing, fragment, line):
    """Their modules can be imported; the tests that come to these lines fail."""
    assert guide[name].line_of(fragment) == line
    assert unbound_names(guide[name].text) == {missing}


async def test_the_notifications_default_template_does_not_exist_and_the_reply_says_sent(guide):
    """Line 603 falls back to a template 'generic', which lines 502 and following do not make. Line
    558 swallows every failure to send, so line 605 answers "sent" whatever happened."""
    block = guide["notifications"]
    assert block.line_of("'generic'") == 603
    assert block.line_of('"Email notification sent"') == 605
    names: dict = {"__name__": "guide_notifications"}
    exec(guide.source("notifications", "in Trio"), names)
    plugin = names["NotificationPlugin"]({"email": {}})
    plugin.logger = Log()
    await plugin.initialize()
    assert "generic" not in plugin.notification_templates
    request = AsyncMock()
    request.json.return_value = {"type": "email", "recipient": "ann@example.org"}
    assert await plugin.send_custom_notification(request) == {"message": "Email notification sent"}
    assert plugin.logger.errors == ["Unknown email template: generic"]


def test_the_first_plugin_does_not_check_the_length_it_gives_its_column(guide):
    """Line 136 bounds the name to 100 characters; neither line 168 (a request's name) nor line
    218 ("welcome_" and a username) does. test_my_first_plugin shows what becomes of it."""
    block = guide["my-first-plugin"]
    assert block.line_of("VARCHAR(100)") == 136
    assert block.line_of("'name' not in data") == 168
    assert block.line_of('f"welcome_{username}"') == 218


class Log:
    """Keeps what is logged as an error."""

    def __init__(self):
        self.errors = []

    def error(self, words):
        self.errors.append(words)

    def info(self, words):
        pass
