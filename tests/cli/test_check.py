"""``nexus check``: every fault of every plugin at once, with its place and its fix."""

import pytest

ROUTE = '    @get("/{path}")\n    async def page(self):\n        return {{}}\n'


def page(path: str) -> str:
    return ROUTE.format(path=path)


def test_every_fault_of_every_plugin_is_named_at_once(here):
    here.plugin("good", page("good"))
    here.plugin("wrong-field", versoin="2", permissions=["database:raed"])
    here.plugin("no-json").joinpath("plugin.json").write_text('{"name": "no-json",}')
    here.plugin("no-module").joinpath("plugin.py").write_text("import no_such_module\n")
    here.plugin("no-class", entry_point="plugin:Q")
    here.plugin("deaf", '    @event_handler("user.created")\n    async def hear(self, e): ...\n')
    here.plugin("second", page("good"))
    here.plugin("reserved", page("metrics"))
    here.plugin("lonely", requires=["godo"])
    here.plugin("hen", requires=["egg"])
    here.plugin("egg", requires=["hen"])
    here.plugin("follower", requires=["no-json"])
    here.plugin("unset", configuration={"host": {"type": "string", "required": True}})
    (here.folder / "nexus.toml").write_text("[plugins.goood]\nsize = 1\n")

    done = here.nexus("check")
    said = done.stdout.replace(str(here.folder) + "/", "")
    assert done.returncode == 1
    assert not done.stderr
    for words in (
        "good 1.0.0: good (1 route, 0 event handlers, trio)",
        "wrong-field: 2 faults",
        "plugins/wrong-field/plugin.json: versoin: no such field; did you mean 'version'?",
        "plugins/wrong-field/plugin.json: permissions[0]: there is no permission",
        "plugins/no-json/plugin.json: line 1, column ",
        "plugins/no-module/plugin.py:1: cannot be imported: ModuleNotFoundError",
        "there is no Q in plugins/no-class/plugin.py",
        '(add "events:subscribe")',
        "GET /good: the path is taken by plugin good",
        "/metrics belongs to the node itself (use another path)",
        'plugins/lonely/plugin.json: requires[0]: there is no plugin "godo"',
        "goes in a circle: hen > egg > hen",
        "no-json cannot start (mend no-json first)",
        "[plugins.unset].host: is required",
        "nexus.toml: plugins.goood: there is no plugin \"goood\"; did you mean 'good'?",
    ):
        assert words in said, f"{words}\n--- is not in ---\n{said}"
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "13 plugins in plugins: 14 faults"


def test_a_handler_that_cannot_be_served_is_named_with_its_place_once_and_the_fix(here):
    here.plugin("odd", page("odd").replace("(self)", "(self, what)"))
    done = here.nexus("check")
    line = done.stdout.splitlines()[1].strip()
    assert line.startswith(
        "plugins/odd/plugin.py:8 P.page: 'what' is neither in the path '/odd' nor annotated (put "
    )
    assert line.count("plugin.py") == 1


def test_a_missing_permission_names_who_needs_it(here):
    here.plugin("deaf", '    @event_handler("user.created")\n    async def hear(self, e): ...\n')
    done = here.nexus("check")
    assert done.stdout.splitlines()[1].strip() == (
        "plugins/deaf/plugin.json: permissions: plugins/deaf/plugin.py:8 P.hear needs "
        'events:subscribe on "user.created", which is not asked for (add "events:subscribe")'
    )


def test_without_a_fault_the_exit_code_is_0(here):
    here.plugin("one", page("one"))
    here.plugin("two", page("two"), requires=["one"])
    done = here.nexus("check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 plugins in plugins: no faults")


def test_a_folder_that_is_named_is_looked_at_in_place_of_the_settings(here):
    here.plugin("broken", entry_point="plugin:Q")
    here.plugin("fine", base="more")
    assert here.nexus("check", "more").returncode == 0
    assert here.nexus("check").returncode == 1
    both = here.nexus("check", "more", "plugins/broken")
    assert both.returncode == 1
    assert "2 plugins in more, plugins/broken: 1 fault" in both.stdout


def test_one_plugin_may_require_another_that_stands_beside_it(here):
    here.plugin("one", base="more")
    here.plugin("two", base="more", requires=["one"])
    assert here.nexus("check", "more/two").returncode == 0


def test_faulty_settings_are_named_and_the_plugins_are_looked_at_all_the_same(here):
    here.plugin("broken", entry_point="plugin:Q")
    (here.folder / "nexus.toml").write_text("[http]\nbnid = 1\n")
    done = here.nexus("check")
    assert done.returncode == 1
    assert "nexus.toml: http.bnid: no such setting; did you mean 'bind'?" in done.stdout
    assert "there is no Q in plugins/broken/plugin.py" in done.stdout
    assert "1 plugin in plugins: 2 faults" in done.stdout


def test_a_variable_that_is_no_setting_is_named(here, monkeypatch):
    here.plugin("fine")
    monkeypatch.setenv("NEXUS_HTTP_COLOUR", "red")
    done = here.nexus("check")
    assert done.returncode == 1
    assert "NEXUS_HTTP_COLOUR: no such setting, so it is ignored (unset it)" in done.stdout


def test_a_plugin_that_is_switched_off_is_said_to_be(here):
    here.plugin("idle")
    (here.folder / "nexus.toml").write_text("[plugins.idle]\nenabled = false\n")
    done = here.nexus("check")
    assert done.returncode == 0
    assert "idle: switched off" in done.stdout


def test_an_empty_folder_is_said_to_have_no_plugins(here):
    (here.folder / "plugins").mkdir()
    done = here.nexus("check")
    assert (done.returncode, done.stdout) == (0, "no plugins in plugins\n")


@pytest.mark.parametrize("words", [("nowhere",), ("--config", "nowhere.toml")])
def test_what_is_not_there_is_named(here, words):
    done = here.nexus("check", *words)
    assert done.returncode != 0
    assert words[-1] in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_middleware_for_the_node_that_cannot_be_made_is_a_fault(here):
    wrapped = "    @classmethod\n    def node_middleware(cls, plugin):\n        {body}\n"
    asks = {"permissions": ["http:middleware"]}
    here.plugin("raising", wrapped.format(body='raise ValueError("not today")'), **asks)
    here.plugin("none", wrapped.format(body="return 7"), **asks)
    here.plugin("static", wrapped.format(body="pass").replace("class", "static"), **asks)
    here.plugin("waiting", wrapped.format(body="pass").replace("def", "async def"), **asks)
    here.plugin("follower", requires=["raising"])
    here.plugin("good", wrapped.format(body="return None"), **asks)
    done = here.nexus("check")
    said = done.stdout.replace(str(here.folder) + "/", "")
    assert done.returncode == 1
    assert not done.stderr
    for words in (
        "P.node_middleware: it raised ValueError: not today (mend it",
        "P.node_middleware: int object cannot be a middleware",
        "P.node_middleware: it is no class method",
        "P.node_middleware: it is async (write `def`, without async)",
        "plugins/follower/plugin.json: requires[0]: raising cannot start",
        "good 1.0.0: good",
    ):
        assert words in said, f"{words}\n--- is not in ---\n{said}"
    assert said.splitlines()[-1] == "6 plugins in plugins: 5 faults"
