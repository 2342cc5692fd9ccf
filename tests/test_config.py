"""Settings: who wins, what is refused and how it is said, and that the docs have them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from nexus_actors.config import (
    DatabaseSettings,
    HttpSettings,
    NodeSettings,
    PluginTable,
    Settings,
    describe_settings,
    load_settings,
)
from nexus_actors.config.rules import BadValue, split_bind
from nexus_actors.errors import Fault, Invalid
from nexus_actors.words import mask_url

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """load_settings in an empty folder, with the text of a nexus.toml there."""

    def run(
        toml: str | None = None,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        if toml is not None:
            (tmp_path / "nexus.toml").write_text(toml)
        return load_settings(flags or {}, environ or {}, tmp_path)

    return run


def faults_of(call: Callable[[], object]) -> tuple[Fault, ...]:
    with pytest.raises(Invalid) as caught:
        call()
    return caught.value.faults


def fault_of(call: Callable[[], object]) -> Fault:
    faults = faults_of(call)
    assert len(faults) == 1, faults
    return faults[0]


# Who wins -------------------------------------------------------------------------------------


def test_without_anything_every_setting_has_its_default(load: Load, tmp_path: Path) -> None:
    settings = load()
    assert settings == Settings()
    assert settings.config_file is None
    assert settings.source_of("http.bind") == "default"
    assert settings.bind == "127.0.0.1:8000"
    assert settings.database_url is None
    assert settings.data_dir == Path(".nexus")
    assert settings.plugin_dirs == ()


BIND = "http.bind"
DRAIN = "http.drain"


@pytest.mark.parametrize(
    ("said", "port", "source"),
    [
        ((), 8000, "default"),
        (("file",), 1, "nexus.toml"),
        (("variable",), 2, "NEXUS_BIND"),
        (("flag",), 3, "--bind"),
        (("file", "variable"), 2, "NEXUS_BIND"),
        (("file", "flag"), 3, "--bind"),
        (("variable", "flag"), 3, "--bind"),
        (("file", "variable", "flag"), 3, "--bind"),
    ],
)
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
    load: Load, said: tuple[str, ...], port: int, source: str
) -> None:
    settings = load(
        '[http]\nbind = "127.0.0.1:1"' if "file" in said else None,
        {"bind": "127.0.0.1:3" if "flag" in said else None},
        {"NEXUS_BIND": "127.0.0.1:2"} if "variable" in said else {},
    )
    assert settings.http.port == port
    assert settings.source_of(BIND).endswith(source)


SAMPLES: dict[str, tuple[str, str, object]] = {
    "node.installed_plugins": ("false", "no", False),
    "node.required": ('["a", "b"]', "a, b", ("a", "b")),
    "node.stop_timeout": ("30", "30", 30.0),
    "node.ask_timeout": ("0.5", "0.5", 0.5),
    "node.handler_timeout": ("7", "7", 7.0),
    "node.initialize_timeout": ("7", "7", 7.0),
    "node.dead_letters": ("20", "20", 20),
    "node.dead_letters_size": ('"2 MiB"', "2MiB", 2 * 1024**2),
    "node.watchdog": ("false", "no", False),
    "node.stall_warn": ("0.3", "0.3", 0.3),
    "node.stall_limit": ("7", "7", 7.0),
    "node.stall_signal": ('"SIGUSR1"', "sigusr1", "SIGUSR1"),
    "node.log_level": ('"debug"', "DEBUG", "debug"),
    "node.log_format": ('"json"', "json", "json"),
    "http.bind": ('"[::1]:9"', "[::1]:9", "[::1]:9"),
    "http.path": ('"stock"', "Stock", "stock"),
    "http.drain": ("1.5", "1.5", 1.5),
    "http.keep_alive": ("0", "0", 0.0),
    "http.head_timeout": ("2", "2", 2.0),
    "http.reply_timeout": ("2", "2", 2.0),
    "http.write_timeout": ("2", "2", 2.0),
    "http.max_connections": ("5", "5", 5),
    "http.max_body": ('"2 MiB"', "2MiB", 2 * 1024**2),
    "http.max_head": ("2048", "2048", 2048),
    "http.max_url": ('"1 KiB"', "1024", 1024),
    "database.url": ('"postgres://h/d"', "postgres://h/d", "postgres://h/d"),
    "database.pool_size": ("3", "3", 3),
    "database.connect_timeout": ("3", "3", 3.0),
}
"""For each setting: in nexus.toml, in a variable, and what it then is."""
BY_PATH = {"node.plugins", "node.data"}


def test_the_samples_leave_no_setting_out() -> None:
    assert {row.key for row in describe_settings()} == SAMPLES.keys() | BY_PATH


@pytest.mark.parametrize("key", SAMPLES)
def test_every_setting_can_be_said_in_the_file(load: Load, key: str) -> None:
    section, name = key.split(".")
    settings = load(f"[{section}]\n{name} = {SAMPLES[key][0]}")
    value = getattr(getattr(settings, section), name)
    assert value == SAMPLES[key][2]
    assert type(value) is type(SAMPLES[key][2])


@pytest.mark.parametrize(
    "row",
    [row for row in describe_settings() if row.key not in BY_PATH],  # these have tests below
    ids=lambda row: row.key,
)
def test_every_setting_can_be_said_in_a_variable(load: Load, row: Any) -> None:
    settings = load(environ={row.variable: SAMPLES[row.key][1]})
    section, name = row.key.split(".")
    assert getattr(getattr(settings, section), name) == SAMPLES[row.key][2]


def test_the_options_of_nexus_run_are_the_settings_with_a_flag(load: Load, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    settings = load(
        flags={
            "plugins": [Path("here")],
            "bind": "0.0.0.0:80",
            "database_url": "postgresql://u:p@h/d",
            "http": "stock",
            "data": Path("state"),
        }
    )
    assert settings.plugin_dirs == (tmp_path / "here",)
    assert settings.bind == "0.0.0.0:80"
    assert settings.database_url == "postgresql://u:p@h/d"
    assert settings.http.path == "stock"
    assert settings.data_dir == tmp_path / "state"
    assert {row.flag for row in describe_settings() if row.flag} == {
        "--plugins",
        "--bind",
        "--database-url",
        "--http",
        "--data",
    }


def test_an_empty_variable_is_as_none(load: Load) -> None:
    assert load(environ={"NEXUS_BIND": "", "NEXUS_CONFIG": ""}).bind == "127.0.0.1:8000"


def test_no_folders_on_the_command_line_leave_the_word_to_others(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    settings = load('[node]\nplugins = ["here"]', flags={"plugins": ()})
    assert settings.plugin_dirs == (tmp_path / "here",)


# Paths ----------------------------------------------------------------------------------------


def test_paths_in_the_file_start_at_the_file(tmp_path: Path) -> None:
    away = tmp_path / "etc"
    (away / "mine").mkdir(parents=True)
    (away / "site.toml").write_text('[node]\nplugins = ["mine"]\ndata = "state"')
    settings = load_settings({"config": "etc/site.toml"}, {}, tmp_path)
    assert settings.plugin_dirs == (away / "mine",)
    assert settings.data_dir == away / "state"
    assert settings.config_file == away / "site.toml"


def test_paths_in_variables_start_at_the_working_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    settings = load_settings(
        {}, {"NEXUS_PLUGINS": os.pathsep.join(["a", "b"]), "NEXUS_DATA": "/var/n"}, tmp_path
    )
    assert settings.plugin_dirs == (tmp_path / "a", tmp_path / "b")
    assert settings.data_dir == Path("/var/n")


def test_a_folder_for_plugins_that_is_not_there_is_named_with_its_source(
    load: Load, tmp_path: Path
) -> None:
    fault = fault_of(lambda: load(flags={"plugins": ["nope"]}))
    assert fault.where == "--plugins"
    assert fault.what == f"there is no folder {tmp_path / 'nope'}"
    fault = fault_of(lambda: load('[node]\nplugins = ["nope"]'))
    assert fault.where.endswith("nexus.toml: node.plugins")


# The file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_file_that_was_named_must_be_there(load: Load, by: str) -> None:
    flags = {"config": "gone.toml"} if by == "flag" else {}
    environ = {"NEXUS_CONFIG": "gone.toml"} if by == "variable" else {}
    fault = fault_of(lambda: load(None, flags, environ))
    assert fault.where == ("--config" if by == "flag" else "NEXUS_CONFIG")
    assert "gone.toml: No such file or directory" in fault.what


def test_a_fault_in_toml_has_line_and_column(load: Load) -> None:
    fault = fault_of(lambda: load("[http]\nbind = \n"))
    assert fault.where.endswith("nexus.toml")
    assert fault.what == "not TOML: Invalid value (at line 2, column 8)"


def test_a_file_that_is_not_utf_8_is_said_so(load: Load, tmp_path: Path) -> None:
    (tmp_path / "nexus.toml").write_bytes(b"[http]\n# \xff\n")
    assert fault_of(load).what == "not UTF-8 at byte 9"


@pytest.mark.parametrize(
    ("toml", "key", "words"),
    [
        ("[htpp]\n", "htpp", "no such section; did you mean 'http'?"),
        ("[zzz]\n", "zzz", "the sections are [node], [http], [database] and [plugins.<name>]"),
        ("[plugin.x]\n", "plugin", "no such section; did you mean 'plugins'?"),
        ('bind = "x"', "bind", "bind belongs under [http]"),
        ("drain = 3", "drain", "drain belongs under [http]"),
        ("[node]\ndrain = 3", "node.drain", "drain belongs under [http]"),
        ("[http]\nreply_timeuot = 3", "http.reply_timeuot", "did you mean 'reply_timeout'?"),
        ("[http]\nmaxBody = 3", "http.maxBody", "did you mean 'max_body'?"),
        ("[database]\nzzz = 3", "database.zzz", "[database] has connect_timeout, pool_size, url"),
        ("http = 3", "http", "an integer, not a section"),
        ("plugins = []", "plugins", "an array, not a section"),
        ("[plugins]\nshop = 3", "plugins.shop", "an integer, not a section"),
        ("[plugins.shop]\nenabled = 3", "plugins.shop.enabled", "an integer, 3"),
    ],
)
def test_what_is_no_setting_is_named_with_the_nearest(
    load: Load, toml: str, key: str, words: str
) -> None:
    fault = fault_of(lambda: load(toml))
    assert fault.where.endswith(f"nexus.toml: {key}")
    assert words in str(fault)


# Values that do not fit -----------------------------------------------------------------------

WRONG: dict[str, list[tuple[str, str]]] = {
    "seconds": [
        ('"10"', 'a string, "10"'),
        ("true", "a boolean, true"),
        ("[]", "an array, []"),
        ("{}", "an object, {}"),
        ("2020-01-01", "a date or time, 2020-01-01"),
        ("-1", "-1 is out of range"),
        ("1e9", "1000000000.0 is out of range"),
        ("nan", "NaN is out of range"),
        ("inf", "Infinity is out of range"),
    ],
    "count": [
        ("1.5", "a number, 1.5"),
        ("true", "a boolean, true"),
        ('"5"', 'a string, "5"'),
        ("0", "0 is out of range"),
        ("99999999", "99999999 is out of range"),
    ],
    "bytes": [
        ("1.5", "a number, 1.5"),
        ('"16 MB"', 'a string, "16 MB"'),
        ('"many"', 'a string, "many"'),
        ("true", "a boolean, true"),
        ("-1", "-1 is out of range"),
        ("99999999999999", "99999999999999 is out of range"),
    ],
    "boolean": [("1", "an integer, 1"), ('"yes"', 'a string, "yes"')],
    "address": [
        ("8000", "an integer, 8000"),
        ('"8000"', 'not a host and a port: "8000"'),
        ('""', 'not a host and a port: ""'),
    ],
    "url": [
        ("3", "an integer, 3"),
        ('"mysql://u:secret@h/d"', 'not a PostgreSQL address: "mysql://u:***@h/d"'),
        ('"postgresql://h:port/d"', "not a PostgreSQL address"),
    ],
    "path": [("3", "an integer, 3"), ('""', 'not a usable path: ""')],
    "paths": [("3", "an integer, 3"), ('"x"', 'a string, "x"'), ("[3]", "an integer, 3, in the")],
    "names": [("3", "an integer, 3"), ('"x"', 'a string, "x"'), ("[[]]", "an array, [], in the")],
    "word": [("3", "an integer, 3"), ('"loud"', '"loud" is not a choice')],
}


def kind_of(key: str) -> str:
    section, name = key.split(".")
    cls = {"node": NodeSettings, "http": HttpSettings, "database": DatabaseSettings}[section]
    kind: str = attrs.fields_dict(cls)[name].metadata["rule"].kind
    return kind


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [(row.key, *wrong) for row in describe_settings() for wrong in WRONG[kind_of(row.key)]],
)
def test_every_setting_refuses_every_wrong_value_by_name(
    load: Load, key: str, value: str, words: str
) -> None:
    section, name = key.split(".")
    fault = fault_of(lambda: load(f"[{section}]\n{name} = {value}"))
    assert fault.where.endswith(f"nexus.toml: {key}")
    assert fault.what.startswith(words)
    assert fault.fix.startswith("write ")


@pytest.mark.parametrize(
    ("key", "variable", "value"),
    [
        (row.key, row.variable, "no such thing\0")
        for row in describe_settings()
        if kind_of(row.key) not in ("names", "paths")
    ],
)
def test_a_variable_that_does_not_fit_is_named_itself(
    load: Load, key: str, variable: str, value: str
) -> None:
    fault = fault_of(lambda: load(environ={variable: value}))
    assert fault.where == variable


def test_only_the_one_who_wins_is_read(load: Load) -> None:
    """Whoever overrides a broken value to get going must not be held up by it."""
    assert load("[http]\ndrain = 'long'", environ={"NEXUS_HTTP_DRAIN": "1"}).http.drain == 1


def test_all_faults_come_at_once_each_with_its_source(load: Load) -> None:
    faults = faults_of(
        lambda: load(
            "[http]\ndrain = 'x'\nbnid = 1\n[node]\nask_timeout = 0\n[x]\n[plugins.s]\nenabled=1",
            {"bind": "nowhere", "plugins": ["gone"]},
            {"NEXUS_HTTP_MAX_BODY": "much", "NEXUS_DATABASE_URL": "x", "NEXUS_BIDN": "y"},
        )
    )
    places = [fault.where.rpartition("/")[2] for fault in faults]
    assert sorted(places) == [
        "--bind",
        "--plugins",
        "NEXUS_BIDN",
        "NEXUS_DATABASE_URL",
        "NEXUS_HTTP_MAX_BODY",
        "nexus.toml: http.bnid",
        "nexus.toml: http.drain",
        "nexus.toml: node.ask_timeout",
        "nexus.toml: plugins.s.enabled",
        "nexus.toml: x",
    ]


def test_a_warning_that_would_come_after_the_interrupt_names_both_sources(load: Load) -> None:
    fault = fault_of(
        lambda: load("[node]\nstall_limit = 2", environ={"NEXUS_NODE_STALL_WARN": "3"})
    )
    assert fault.where == "NEXUS_NODE_STALL_WARN: node.stall_warn"
    assert fault.what.startswith("3 s are more than node.stall_limit, 2 s (")
    assert "nexus.toml" in fault.what


def test_a_drain_that_outlasts_the_stop_names_both_sources(load: Load) -> None:
    fault = fault_of(lambda: load("[node]\nstop_timeout = 5", environ={"NEXUS_HTTP_DRAIN": "6"}))
    assert fault.where == "NEXUS_HTTP_DRAIN: http.drain"
    assert "6 s of drain do not fit into node.stop_timeout, 5 s (" in fault.what
    assert "nexus.toml)" in fault.what
    with pytest.raises(Invalid):
        Settings(node=NodeSettings(stop_timeout=1))


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (NodeSettings, "stop_timeout", 0),
        (NodeSettings, "log_level", "loud"),
        (HttpSettings, "bind", "nowhere"),
        (HttpSettings, "max_connections", 0),
        (DatabaseSettings, "pool_size", 0),
        (DatabaseSettings, "url", "mysql://h"),
    ],
)
def test_the_classes_refuse_nonsense_when_they_are_built(
    cls: type, field: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        cls(**{field: value})


# Variables that are no setting ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["NEXUS_HTTP_DRIAN", "NEXUS_BIDN", "NEXUS_DATABASE_URI", "NEXUS_CONFG"]
)
def test_a_variable_misspelt_is_a_fault(load: Load, name: str) -> None:
    fault = fault_of(lambda: load(environ={name: "1"}))
    assert fault.where == name
    assert fault.what.startswith("no such variable; did you mean 'NEXUS_")


@pytest.mark.parametrize("name", ["NEXUS_GUIDE", "NEXUS_HOME", "NEXUS_TOKEN", "NEXUS", "HTTP_X"])
def test_variables_of_other_programs_are_let_be(load: Load, name: str) -> None:
    assert load(environ={name: "1"}).warnings == ()


def test_the_variables_of_plugins_are_kept_for_them_and_no_others(load: Load) -> None:
    settings = load(environ={"NEXUS_PLUGINS_A": "1", "NEXUS_DATA": "x", "HOME": "/"})
    assert settings.environ == {"NEXUS_PLUGINS_A": "1"}


def test_empty_places_in_a_list_are_nobody(load: Load, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    settings = load(environ={"NEXUS_PLUGINS": ":here:", "NEXUS_NODE_REQUIRED": " a, ,b,"})
    assert settings.plugin_dirs == (tmp_path / "here",)
    assert settings.node.required == ("a", "b")


def test_a_stranger_in_one_of_our_sections_is_told_but_does_no_harm(load: Load) -> None:
    (warning,) = load(environ={"NEXUS_HTTP_SERVICE_HOST": "10.0.0.1"}).warnings
    assert warning.where == "NEXUS_HTTP_SERVICE_HOST"
    assert "ignored" in warning.what


# Plugins --------------------------------------------------------------------------------------


def test_the_tables_of_plugins_are_kept_as_they_are(load: Load) -> None:
    settings = load('[plugins.shop]\nbatch = 3\n[plugins.old]\nenabled = false\nx = "y"')
    shop, old = settings.table("shop"), settings.table("old")
    assert shop.options == {"batch": 3}
    assert shop.enabled
    assert shop.where.endswith("nexus.toml: plugins.shop")
    assert old.options == {"x": "y"}
    assert not old.enabled
    assert settings.table("other") == PluginTable()


@pytest.mark.parametrize(
    ("toml", "variable", "expected"),
    [
        ("", None, True),
        ("[plugins.my-shop]\nenabled = false", None, False),
        ("[plugins.my-shop]\nenabled = false", "yes", True),
        ("", "off", False),
        ("", "0", False),
    ],
)
def test_a_plugin_is_switched_off_by_variable_or_table(
    load: Load, toml: str, variable: str | None, expected: bool
) -> None:
    environ = {} if variable is None else {"NEXUS_PLUGINS_MY_SHOP_ENABLED": variable}
    assert load(toml, environ=environ).is_enabled("my-shop") is expected


def test_a_switch_that_is_neither_on_nor_off_is_a_fault(load: Load) -> None:
    settings = load(environ={"NEXUS_PLUGINS_SHOP_ENABLED": "maybe"})
    fault = fault_of(lambda: settings.is_enabled("shop"))
    assert fault.where == "NEXUS_PLUGINS_SHOP_ENABLED"
    assert fault.fix == "write true or false"


# Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@host:5432/db",
        "postgresql://user:s3cret@more@host/db",
        "postgresql://user:s3cret/x@host/db",
        "postgresql://host/db?user=u&password=s3cret",
        "postgresql://host/db?sslpassword=s3cret&x=1",
        "postgresql://:s3cret@host/db",
    ],
)
def test_a_password_is_in_no_repr_and_no_fault(load: Load, url: str) -> None:
    assert "s3cret" not in mask_url(url)
    assert "host" in mask_url(url)
    wrong = url.replace("postgresql", "mysql")
    for given in (url, wrong):
        try:
            said = repr(load(environ={"NEXUS_DATABASE_URL": given}))
        except Invalid as invalid:
            said = str(invalid)
        assert "NEXUS_DATABASE_URL" in said
        assert "s3cret" not in said


def test_values_for_plugins_are_in_no_repr(load: Load) -> None:
    settings = load('[plugins.s]\nkey = "s3cret"', environ={"NEXUS_PLUGINS_S_PASSWORD": "s3cret"})
    assert "s3cret" not in repr(settings)
    assert "NEXUS_PLUGINS_S_PASSWORD" in repr(settings)


# Addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("my-host.example:80", ("my-host.example", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(bind: str, expected: tuple[str, int]) -> None:
    assert split_bind(bind) == expected
    http = HttpSettings(bind=bind)
    assert (http.host, http.port) == expected


@pytest.mark.parametrize(
    "bind",
    [
        "",
        ":",
        "host",
        "host:",
        ":80",
        "host:x",
        "host:65536",
        "host:-1",
        "::1:80",
        "[::1]",
        "[x]:80",
        "a b:80",
        "http://h:80",
        "h:８０",
        "h:1 ",
    ],
)
def test_what_is_no_address_is_refused(bind: str) -> None:
    with pytest.raises(BadValue, match="not a host and a port"):
        split_bind(bind)


# The documentation ----------------------------------------------------------------------------


@pytest.mark.parametrize("row", describe_settings(), ids=lambda row: row.key)
def test_the_documentation_has_every_setting_with_its_default_and_variable(row: Any) -> None:
    lines = [li for li in DOCS.read_text().splitlines() if li.startswith(f"| `{row.key}` |")]
    assert len(lines) == 1, f"docs/configuration.md has {len(lines)} lines about {row.key}"
    (line,) = lines
    assert f"`{row.variable}`" in line
    assert f"`{row.default or 'none'}`" in line
    assert row.meaning in line
    if row.unit:
        assert row.unit in line
    if row.flag:
        assert f"`{row.flag}`" in line


def test_the_defaults_in_the_documentation_are_read_back_as_the_defaults(load: Load) -> None:
    """What describe_settings shows can be written into nexus.toml and changes nothing."""
    lines: dict[str, list[str]] = {}
    for row in describe_settings():
        section, name = row.key.split(".")
        if row.default and row.key not in BY_PATH:
            lines.setdefault(section, [f"[{section}]"]).append(f"{name} = {row.default}")
    settings = load("\n".join(line for table in lines.values() for line in table))
    assert (settings.http, settings.node) == (HttpSettings(), NodeSettings())
