"""A plugin's class is imported or the reason is told: with file, line and what to do."""

from __future__ import annotations

import importlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nexus_actors import log
from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin import importing
from nexus_actors.plugin.discovery import Found, discover
from nexus_actors.plugin.importing import forget_plugin, load_class, load_module, open_folder


class Plugin:
    """Stands for the real one: these tests are about importing alone."""


@pytest.fixture(autouse=True)
def _leave_no_module() -> Iterator[None]:
    base = ModuleType("the_base")
    base.Plugin = Plugin  # type: ignore[attr-defined]
    sys.modules["the_base"] = base
    before, path, meta = {*sys.modules}, [*sys.path], [*sys.meta_path]
    yield
    for name in [*vars(sys.modules.get("nexus_plugins", ModuleType("none")))]:
        if not name.startswith("__"):
            forget_plugin(name.replace("_", "-"))
    assert {name for name in sys.modules if name.startswith("nexus_plugins.")} == set()
    assert sys.path == path
    for name in {*sys.modules} - before:
        if name.startswith(("my_shop", "twin", "nexus_plugins")):
            del sys.modules[name]
    del sys.modules["the_base"]
    assert [finder for finder in sys.meta_path if finder not in meta] in ([], [importing._finder])


GOOD = "from the_base import Plugin\nclass Shop(Plugin): pass\n"

Write = Callable[..., Found]


@pytest.fixture
def shop(tmp_path: Path) -> Write:
    """Write the plugin ``my-shop`` from its files, and find it."""

    def run(plugin: str = GOOD, at: str = "plugins", **files: str) -> Found:
        home = tmp_path / at / "my-shop"
        home.mkdir(parents=True, exist_ok=True)
        (home / "plugin.py").write_text(plugin)
        document = {"name": "my-shop", "version": "1", "entry_point": "plugin:Shop"}
        (home / "plugin.json").write_text(json.dumps(document))
        for name, text in files.items():
            path = home / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        (found,) = discover([home], entry_points=False)
        return found

    return run


def fault_of(found: Found) -> Fault:
    with pytest.raises(Invalid) as caught:
        load_class(found, Plugin)
    (fault,) = caught.value.faults
    return fault


# What works ---------------------------------------------------------------------------------------


def test_a_plugin_is_loaded_below_nexus_plugins(shop: Write) -> None:
    cls = load_class(shop(), Plugin)
    assert issubclass(cls, Plugin)
    assert cls.__module__ == "nexus_plugins.my_shop.plugin"
    module = sys.modules["nexus_plugins.my_shop.plugin"]
    assert module.__file__ is not None
    assert module.__file__.endswith("my-shop/plugin.py")
    assert sys.modules["nexus_plugins"].my_shop.plugin is module


@pytest.mark.parametrize(
    "line",
    [
        "from .models import Order",
        "from . import models; Order = models.Order",
        "from my_shop.models import Order",
        "import my_shop.models; Order = my_shop.models.Order",
        "from my_shop import models; Order = models.Order",
        "from nexus_plugins.my_shop.models import Order",
        "import importlib; Order = importlib.import_module('.models', __package__).Order",
    ],
)
def test_modules_of_a_plugin_import_each_other(shop: Write, line: str) -> None:
    load_class(shop(f"{line}\n{GOOD}", models="class Order: pass"), Plugin)
    plugin = sys.modules["nexus_plugins.my_shop.plugin"]
    assert plugin.Order is sys.modules["nexus_plugins.my_shop.models"].Order


def test_packages_inside_a_plugin_work_by_every_way(shop: Write) -> None:
    found = shop(
        f"from .deep.inner import X\nfrom my_shop.deep.inner import X as Y\n{GOOD}",
        deep__in____init__="",
        deep__in__inner="from ..models import M as X",
        models="class M: pass",
    )
    load_class(found, Plugin)
    plugin = sys.modules["nexus_plugins.my_shop.plugin"]
    assert plugin.X is plugin.Y


def test_a_plugin_may_have_an_init_and_it_runs_once(shop: Write) -> None:
    found = shop(
        f"from . import COUNT\nimport my_shop\nassert my_shop.COUNT is COUNT\n{GOOD}",
        __init__="COUNT = []\nCOUNT.append(1)\nfrom .models import M",
        models="class M: pass",
    )
    load_class(found, Plugin)
    assert sys.modules["nexus_plugins.my_shop"].COUNT == [1]


def test_a_test_may_import_by_the_short_name_and_gets_the_same_class(shop: Write) -> None:
    """The guide's tests say ``from my_first_plugin.plugin import MyFirstPlugin``."""
    found = shop()
    assert found.folder is not None
    assert open_folder("my-shop", found.folder) == "nexus_plugins.my_shop"
    assert "nexus_plugins.my_shop.plugin" not in sys.modules  # opening imports nothing
    by_alias = importlib.import_module("my_shop.plugin")
    assert by_alias.Shop is load_class(found, Plugin)
    assert by_alias is sys.modules["nexus_plugins.my_shop.plugin"]
    assert by_alias.__name__ == "nexus_plugins.my_shop.plugin"
    assert by_alias.__spec__ is not None
    assert by_alias.__spec__.name == "nexus_plugins.my_shop.plugin"
    assert importlib.import_module("my_shop") is sys.modules["nexus_plugins.my_shop"]


def test_what_the_alias_does_not_have_is_not_there(shop: Write) -> None:
    load_class(shop(), Plugin)
    with pytest.raises(ModuleNotFoundError, match=r"my_shop\.gone"):
        importlib.import_module("my_shop.gone")


def test_a_short_name_that_something_else_answers_to_stays_its_own(tmp_path: Path) -> None:
    home = tmp_path / "json"
    home.mkdir()
    (home / "plugin.py").write_text("import json\nTEXT = json.dumps([1])\n" + GOOD)
    (home / "plugin.json").write_text(
        json.dumps({"name": "json", "version": "1", "entry_point": "plugin:Shop"})
    )
    (found,) = discover([home], entry_points=False)
    load_class(found, Plugin)
    assert importlib.import_module("json") is json
    assert "json" not in importing._finder.aliases
    forget_plugin("json")
    assert sys.modules["json"] is json


@pytest.mark.parametrize("file", ["my_shop/__init__.py", "my_shop.py"])
def test_a_package_of_that_name_on_the_path_keeps_it(
    shop: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    other = tmp_path / "site" / file
    other.parent.mkdir(parents=True)
    other.write_text("WHO = 'other'")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    load_class(shop(), Plugin)
    assert importlib.import_module("my_shop").WHO == "other"


def test_the_plugins_own_folder_on_the_path_makes_no_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the folder of plugins as the working folder: ``twin`` is then a namespace package."""
    home = tmp_path / "twin"
    home.mkdir()
    (home / "plugin.py").write_text(GOOD)
    document = {"name": "twin", "version": "1", "entry_point": "plugin:Shop"}
    (home / "plugin.json").write_text(json.dumps(document))
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = discover([home], entry_points=False)
    cls = load_class(found, Plugin)
    assert importlib.import_module("twin.plugin").Shop is cls


def test_two_plugins_may_each_have_a_module_of_one_name(shop: Write, tmp_path: Path) -> None:
    load_class(shop(f"from .models import M\n{GOOD}", models="M = 1"), Plugin)
    home = tmp_path / "twin"
    home.mkdir()
    (home / "models.py").write_text("M = 2")
    (home / "plugin.py").write_text(f"from .models import M\n{GOOD}")
    document = {"name": "twin", "version": "1", "entry_point": "plugin:Shop"}
    (home / "plugin.json").write_text(json.dumps(document))
    (found,) = discover([home], entry_points=False)
    load_class(found, Plugin)
    assert sys.modules["nexus_plugins.my_shop.plugin"].M == 1
    assert sys.modules["nexus_plugins.twin.plugin"].M == 2


def test_a_plugin_already_loaded_is_not_run_again(shop: Write) -> None:
    found = shop()
    assert load_class(found, Plugin) is load_class(found, Plugin)


def test_a_plugin_of_that_name_from_another_folder_takes_its_place(shop: Write) -> None:
    first = load_class(shop(GOOD + "A = 1", at="one"), Plugin)
    second = load_class(shop(GOOD + "B = 2", at="two"), Plugin)
    assert first is not second
    assert not hasattr(sys.modules["nexus_plugins.my_shop.plugin"], "A")
    assert importlib.import_module("my_shop.plugin").Shop is second


def test_a_forgotten_plugin_is_read_anew(shop: Write) -> None:
    first = load_class(shop(GOOD + "A = 1"), Plugin)
    alias = importlib.import_module("my_shop.plugin")
    forget_plugin("my-shop")
    found = shop(GOOD + "A = 22222")
    assert load_class(found, Plugin) is not first
    assert sys.modules["nexus_plugins.my_shop.plugin"].A == 22222
    assert importlib.import_module("my_shop.plugin") is not alias


def test_nothing_but_the_plugin_is_forgotten(shop: Write) -> None:
    load_class(shop(), Plugin)
    before = {*sys.modules}
    forget_plugin("my-shop")
    gone = before - {*sys.modules}
    assert gone == {"nexus_plugins.my_shop", "nexus_plugins.my_shop.plugin"}
    assert not hasattr(sys.modules["nexus_plugins"], "my_shop")
    forget_plugin("never-loaded")


def test_a_forgotten_plugin_does_not_come_back_by_itself(shop: Write) -> None:
    load_class(shop(__init__="X = 1"), Plugin)
    forget_plugin("my-shop")
    for name in ("nexus_plugins.my_shop", "my_shop"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_the_loggers_of_the_modules_speak_for_the_plugin(shop: Write) -> None:
    found = shop(f"import logging\nLOGGER = logging.getLogger(__name__)\n{GOOD}")
    load_class(found, Plugin)
    logger = sys.modules["nexus_plugins.my_shop.plugin"].LOGGER
    assert logger is logging.getLogger("nexus_plugins.my_shop.plugin")


# What does not ------------------------------------------------------------------------------------

NEXUS = "write `from nexus_actors.plugin import Plugin`"


@pytest.mark.parametrize(
    ("source", "line", "what", "fix"),
    [
        ("def f(:\n", 1, 'SyntaxError: invalid syntax, in "def f(:"', "mend the line"),
        ("x = 1\n  y = 2\n", 2, 'IndentationError: unexpected indent, in "y = 2"', "mend"),
        ("x = 1\n1 / 0\n", 2, "ZeroDivisionError: division by zero", "it runs when the module"),
        ("def f():\n    raise KeyError('a')\n\nf()\n", 2, "KeyError: 'a'", "it runs when"),
        ("import json\njson.loads('x')\n", 2, "JSONDecodeError: Expecting value", "it runs when"),
        ("undefined\n", 1, "NameError: name 'undefined' is not defined", "it runs when"),
        ("assert False\n", 1, "AssertionError", "it runs when"),
        ("import sys\nsys.exit(3)\n", 2, "it ends the program (SystemExit: 3)", "take the exit"),
        ("raise KeyboardInterrupt\n", 1, "it ends the program, as Ctrl-C", "take the exit away"),
        ("raise GeneratorExit\n", 1, "GeneratorExit", "it runs when"),
        ("class E(BaseException): pass\nraise E('x')\n", 2, "E: x", "it runs when"),
        (
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
            3,
            "E: (no message: its __str__ raises)",
            "it runs when",
        ),
        ("raise ExceptionGroup('g', [ValueError('v')])\n", 1, "ExceptionGroup: g", "it runs"),
        ("def f(): f()\nf()\n", 1, "RecursionError", "it runs when"),
        (
            "import no_such_package_here\n",
            1,
            "ModuleNotFoundError: No module named 'no_such_package_here'",
            "pip install no_such_package_here, and name it in plugin.json",
        ),
        ("import no_such_package_here.x\n", 1, "ModuleNotFoundError", "pip install no_such_pack"),
        ("from json import nope\n", 1, "ImportError: cannot import name 'nope'", "what is there"),
        ("raise ImportError('no')\n", 1, "ImportError: no", "import what is there"),
        ("raise ModuleNotFoundError('no')\n", 1, "ModuleNotFoundError: no", "import what is"),
        ("from .gone import x\n", 1, "No module named 'nexus_plugins.my_shop.gone'", "what is"),
        ("from my_shop.gone import x\n", 1, "No module named 'my_shop.gone'", "no such module in"),
        ("from nexus.plugin import Plugin\n", 1, "No module named 'nexus'", NEXUS),
        (
            "import nexus.events\n",
            1,
            "No module named 'nexus'",
            "write `import nexus_actors.events`",
        ),
        (
            "from models import M\n",
            1,
            "No module named 'models'",
            "write `from .models import ...`",
        ),
        ("import deep.inner\n", 1, "No module named 'deep'", "write `from .deep import ...`"),
    ],
)
def test_an_import_that_fails_is_a_fault_with_file_and_line(
    shop: Write, source: str, line: int, what: str, fix: str
) -> None:
    found = shop(source + GOOD, models="M = 1", deep__in____init__="")
    fault = fault_of(found)
    assert fault.where == f"{found.folder}/plugin.py:{line}"
    assert fault.what.startswith("cannot be imported: ")
    assert what in fault.what
    assert fix in fault.fix


def test_the_line_is_the_one_in_the_module_that_failed(shop: Write) -> None:
    found = shop(f"from .models import M\n{GOOD}", models="x = 1\n\n1 / 0\n")
    assert fault_of(found).where == f"{found.folder}/models.py:3"


def test_an_init_that_fails_is_told_like_any_module(shop: Write) -> None:
    found = shop(GOOD, __init__="\n1 / 0\n")
    assert fault_of(found).where == f"{found.folder}/__init__.py:2"


@pytest.mark.parametrize("content", [b"x = 1\0\n", b"x = '\xff'\n", b"# coding: nonsense\n"])
def test_a_source_that_is_not_text_is_told(shop: Write, content: bytes) -> None:
    found = shop()
    assert found.folder is not None
    (found.folder / "plugin.py").write_bytes(content)
    assert "cannot be imported: " in fault_of(found).what


CTRL_C = "import signal\nsignal.raise_signal(signal.SIGINT)\n"


@pytest.mark.parametrize(
    "source",
    [
        CTRL_C,
        f"try:\n    {CTRL_C.replace(chr(10), chr(10) + '    ')}\nexcept BaseException: exit(3)\n",
        f"try:\n    {CTRL_C.replace(chr(10), chr(10) + '    ')}\nexcept BaseException: pass\n",
    ],
    ids=["plain", "turned into an exit", "swallowed"],
)
def test_ctrl_c_during_an_import_is_not_the_plugins(shop: Write, source: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load_class(shop(source + GOOD), Plugin)
    assert signal.getsignal(signal.SIGINT) is before


def test_where_ctrl_c_cannot_be_watched_every_interrupt_is_let_through(shop: Write) -> None:
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with pytest.raises(KeyboardInterrupt):
            load_class(shop("raise KeyboardInterrupt\n"), Plugin)
    finally:
        signal.signal(signal.SIGINT, before)


def test_after_a_failure_the_mended_files_are_read(shop: Write) -> None:
    fault_of(shop(f"from .models import M\n1 / 0\n{GOOD}", models="M = 1"))
    load_class(shop(f"from .models import M\n{GOOD}\n", models="M = 2222"), Plugin)
    assert sys.modules["nexus_plugins.my_shop.plugin"].M == 2222


def test_a_failure_keeps_no_frame_alive(shop: Write) -> None:
    with pytest.raises(Invalid) as caught:
        load_class(shop("1 / 0\n"), Plugin)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


# The class ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "what", "fix"),
    [
        (
            "from the_base import Plugin\nclass Shopp(Plugin): pass\nclass Helper: pass\n",
            "there is no Shop in {file}; did you mean 'Shopp'?",
            'write for example "plugin:Shopp"',
        ),
        (
            "from the_base import Plugin\nclass Other(Plugin): pass\n",
            "there is no Shop in {file}",
            'write for example "plugin:Other"',
        ),
        (
            "class Shops: pass\n",
            "there is no Shop in {file}; did you mean 'Shops'?",
            "write a class that extends Plugin in {file}",
        ),
        ("", "there is no Shop in {file}", "write a class that extends Plugin in {file}"),
        ("Shop = 3\n", "Shop in {file} is an int, not a class", "write a class that extends"),
        ("def Shop(config): pass\n", "Shop in {file} is a function, not a class", "write a class"),
        (
            "class Shop: pass\n",
            "Shop in {file} does not extend Plugin",
            "write `class Shop(Plugin)`",
        ),
        (
            "from the_base import Plugin as Shop\n",
            "Shop in {file} does not extend Plugin",
            "write `class Shop(Plugin)`",
        ),
    ],
)
def test_an_entry_point_that_is_no_plugin_is_named_with_what_is_there(
    shop: Write, source: str, what: str, fix: str
) -> None:
    found = shop(source)
    fault = fault_of(found)
    file = f"{found.folder}/plugin.py"
    assert fault.where == f"{found.where}: entry_point"
    assert fault.what == what.format(file=file)
    assert fault.fix.startswith(fix.format(file=file))


def test_a_class_from_another_module_of_the_plugin_will_do(shop: Write) -> None:
    found = shop("from .shops import Shop\n", shops=GOOD)
    assert load_class(found, Plugin).__module__ == "nexus_plugins.my_shop.shops"


def test_a_broken_plugin_is_refused_with_the_faults_it_was_found_with(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "plugin.json").write_text("{")
    (found,) = discover([tmp_path], entry_points=False)
    with pytest.raises(Invalid) as caught:
        load_class(found, Plugin)
    assert caught.value.faults == found.faults


# Packages -----------------------------------------------------------------------------------------


def test_a_plugin_from_a_package_keeps_its_own_module_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "my_shop"
    home.mkdir()
    (home / "__init__.py").touch()
    (home / "plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "nexus_my_shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nexus-my-shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nexus.plugins]\nmy-shop = my_shop.plugin:Shop\n")
    (found,) = discover([])
    cls = load_class(found, Plugin)
    assert cls.__module__ == "my_shop.plugin"
    assert load_module(found) is sys.modules["my_shop.plugin"]
    assert log.speaker("my_shop.plugin") == log.speaker("my_shop.deeper.still") == "my-shop"
    (home / "plugin.py").write_text("1 / 0\n")
    del sys.modules["my_shop.plugin"]
    assert fault_of(found).where == f"{home}/plugin.py:1"


@pytest.mark.parametrize(
    ("source", "fix"),
    [("\nimport no_such_package_here\n", "pip install no_such"), ("\n1 / 0\n", "mend the line")],
)
def test_a_package_that_is_a_single_module_is_told_its_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, fix: str
) -> None:
    (tmp_path / "my_shop_alone.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "nexus_alone-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nexus-alone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nexus.plugins]\nalone = my_shop_alone:Shop\n")
    (found,) = discover([])
    fault = fault_of(found)
    assert fault.where == f"{tmp_path}/my_shop_alone.py:2"
    assert fix in fault.fix
