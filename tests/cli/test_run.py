"""``nexus run`` and ``nexus plugins``: from the first line to the last, as a user sees them."""

import json
import signal
import socket

import httpx
import pytest

COUNTER = """
    async def initialize(self):
        self.count = 0

    @post("/count")
    async def count_up(self):
        self.count += 1
        return {"count": self.count}

    @event_handler("crash")
    async def crash(self, event):
        raise RuntimeError("as you asked")

    @get("/crash")
    async def send(self):
        return {"sent": await self.emit_event("crash")}
"""
EVENTS = ["events:emit", "events:subscribe"]


def test_a_node_shows_its_plugins_answers_for_them_and_stops_at_ctrl_c(here):
    here.plugin("counter", COUNTER, permissions=EVENTS)
    here.plugin("keeper", permissions=["database:read"])
    here.plugin("wrong", requires=["nobody"], versoin="1")
    here.plugin("angry", "    async def initialize(self):\n        raise OSError('no luck')\n")
    here.plugin("idle")
    (here.folder / "nexus.toml").write_text(
        "[plugins.idle]\nenabled = false\n[plugins.countre]\nsize = 1\n"
    )
    node = here.run(NEXUS_NODE_LOG_FORMAT="console", NEXUS_HTTP_COLOUR="red").wait_up()

    shown = [" ".join(line.split()) for line in node.out.splitlines()]
    assert "plugin state routes" in shown
    assert "counter running POST /count" in shown
    assert "GET /crash" in shown
    assert "keeper running" in shown, "the table waits for the database"
    assert "wrong failed" in shown
    assert "wrong: not started for 1 fault, named above and by `nexus check`" in shown
    assert any(line.startswith("angry: OSError: no luck") for line in shown)
    assert "; next try in " in node.out
    assert "Switched off: idle" in shown
    assert shown[-1] == f"Serving on http://127.0.0.1:{node.port}. Ctrl-C stops it."
    assert "plugins/wrong/plugin.json: versoin: no such field; did you mean 'version'?" in node.err
    assert 'nexus.toml: plugins.countre: there is no plugin "countre"' in node.err
    assert "NEXUS_HTTP_COLOUR: no such setting, so it is ignored" in node.err

    url = f"http://127.0.0.1:{node.port}"
    assert httpx.post(f"{url}/count").json() == {"count": 1}
    assert httpx.get(f"{url}/crash").json() == {"sent": 1}
    assert httpx.post(f"{url}/count").json() == {"count": 1}

    asked = here.nexus("plugins")
    assert asked.returncode == 0, asked.stderr
    rows = [" ".join(line.split()) for line in asked.stdout.splitlines()]
    assert rows[0] == "plugin version state incarnation crashes waiting"
    assert "counter 1.0.0 running 2 1 0" in rows
    assert "POST /count" in rows
    assert any(row.startswith("OSError: no luck") and "next try in" in row for row in rows)
    assert rows[-1] == "Switched off: idle"

    door = here.folder / ".nexus" / "nexus.sock"
    assert door.stat().st_mode & 0o777 == 0o600, "it is its owner's alone"
    answer = json.loads(here.nexus("plugins", "--json").stdout)
    states = {plugin["name"]: plugin["state"] for plugin in answer["plugins"]}
    assert states["wrong"] == "failed"
    assert states["angry"] in ("failed", "restarting"), "it is tried again now and then"
    assert states["counter"] == states["keeper"] == "running"
    assert answer["disabled"] == ["idle"]

    logged = len(node.err)
    assert node.interrupt() == 0
    assert node.out.splitlines()[-1] == "Stopped."
    assert "Traceback" not in node.err[logged:]
    assert not door.exists()
    gone = here.nexus("plugins")
    assert gone.returncode == 1
    assert gone.stderr.startswith("no node runs in .nexus: start one with `nexus run`")


STARTS = """
    async def initialize(self):
        open("started", "w")
"""


def test_a_node_whose_port_is_taken_says_so_before_anything_starts(here):
    here.plugin("early", STARTS)
    here.plugin("keeper", permissions=["database:read"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second = here.process("run", "--bind", f"127.0.0.1:{port}")
    assert second.returncode == 1
    words = f"cannot start: http.bind: 127.0.0.1:{port} is in use (stop what listens there, or use "
    assert words in second.stderr
    assert "Traceback" not in second.stderr
    assert not second.stdout
    assert not (here.folder / "started").exists()
    assert not (here.folder / ".nexus" / "postgres").exists()


def test_a_node_whose_data_folder_is_taken_says_so_before_anything_starts(here):
    here.plugin("early", STARTS)
    (here.folder / ".nexus").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(here.folder / ".nexus" / "nexus.sock"))
        other.listen()
        second = here.process("run", "--bind", "127.0.0.1:0")
    assert second.returncode == 1
    assert "cannot start: node.data: another node runs on" in second.stderr
    assert "Traceback" not in second.stderr
    assert not (here.folder / "started").exists()


def test_a_taken_port_and_a_data_folder_that_is_none_are_named_together(here):
    here.plugin("early", STARTS)
    (here.folder / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        done = here.process("run", "--bind", bind, "--data", "file")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"cannot start: http.bind: {bind} is in use (")
    assert second.startswith("node.data: ")
    assert second.endswith("/file cannot be made: File exists (use --data)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bind", "nonsense"), "--bind"),
        (("--plugins", "nowhere"), "nowhere"),
        (("--bnd", "127.0.0.1:1"), "Did you mean --bind?"),
        (("--config", "nowhere.toml"), "nowhere.toml"),
        (("--database-url", "mysql://x"), "--database-url"),
        (("surplus",), "surplus"),
    ],
)
def test_a_wrong_option_is_named_with_exit_code_2(here, options, words):
    done = here.nexus("run", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_plugins_is_served_and_said_to_be_empty(here):
    (here.folder / "plugins").mkdir()
    node = here.run().wait_up()
    assert node.out.startswith("No plugins in plugins. `nexus new NAME` makes one.")
    assert httpx.get(f"http://127.0.0.1:{node.port}/readyz").status_code == 200
    assert node.interrupt() == 0


def test_where_all_plugins_are_switched_off_that_is_said(here):
    here.plugin("idle")
    (here.folder / "nexus.toml").write_text("[plugins.idle]\nenabled = false\n")
    node = here.run().wait_up()
    assert node.out.splitlines()[:2] == [
        "Every plugin in plugins is switched off.",
        "Switched off: idle",
    ]
    assert node.interrupt() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_during_the_start_ends_it_without_a_table(here, number, code):
    slow = "    async def initialize(self):\n        import trio\n        await trio.sleep(100)\n"
    here.plugin("slow", slow)
    node = here.run()
    node.wait_for(lambda: "Starting slow ..." in node.out, "word on what it waits for")
    assert node.end(number) == code
    assert "Traceback" not in node.err
    assert "Serving" not in node.out
    assert node.out.splitlines()[-1] == "Stopped before it was up."


@pytest.mark.parametrize("module", ["cyclopts", "trio", "nexus_actors.node.node"])
def test_ctrl_c_while_the_command_itself_is_imported_leaves_no_traceback(here, module):
    program = f"""
import signal, sys

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException:
                pass  # as it is lost in a callback of the import system

sys.meta_path.insert(0, Interrupting())
from nexus_actors.cli import main
main(["run"])
"""
    done = here.python("-c", program)
    assert done.returncode == 130
    assert done.stderr == "Interrupted.\n"
    assert not done.stdout


def test_ctrl_c_while_plugins_are_imported_leaves_no_traceback(here):
    here.plugin("slow").joinpath("plugin.py").write_text(
        "import pathlib, time\npathlib.Path('imported').touch()\ntime.sleep(100)\n"
    )
    node = here.run()
    node.wait_for((here.folder / "imported").exists, "import")
    assert node.interrupt() == 130
    assert node.err.endswith("Interrupted.\n")
    assert "Traceback" not in node.err


def test_asking_a_node_loads_no_node(here):
    program = """
import sys
import nexus_actors.cli.plugins
import nexus_actors.cli.why
print([name for name in ("trio", "quart", "asyncpg", "nexus_actors.node") if name in sys.modules])
"""
    assert here.python("-c", program).stdout == "[]\n"
