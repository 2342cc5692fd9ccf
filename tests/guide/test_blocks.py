"""The guide's blocks: which there are, what each forgot, and that the stated changes fit them."""

import ast
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from guide_blocks import (
    FORMS,
    NAMES,
    PYTHON_BLOCKS,
    Block,
    GuideChanged,
    forgotten,
    read_guide,
    renamed,
    replaced,
    replacements,
    unbound_names,
)


def test_the_guide_has_these_blocks_and_no_others(guide):
    assert {name: block.language for name, block in guide.blocks.items()} == {
        name: "json" if name == "manifest" else "python" for name in NAMES.values()
    }


def test_a_block_knows_its_lines_in_the_guide(guide):
    lines = guide.path.read_text(encoding="utf-8").splitlines()
    for block in guide.blocks.values():
        text = block.text.splitlines()
        assert lines[block.line - 2].startswith("```")
        assert lines[block.line - 1 : block.line - 1 + len(text)] == text
        last = next(line for line in reversed(text) if block.text.count(line) == 1)
        assert block.line_of(last) == block.line + text.index(last)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PYTHON_BLOCKS)
def test_each_block_is_whole_once_what_it_forgot_is_there(guide, name, form):
    code = guide.source(name, form)
    compile(code, f"{name} {form}", "exec")
    assert unbound_names(code) == set()


@pytest.mark.parametrize("name", PYTHON_BLOCKS)
def test_nothing_is_added_that_the_guide_did_not_forget(guide, name):
    """Each added import is for a name the block itself lacks, and for all it lacks there is one."""
    imports = forgotten().get(name, {}).get("imports", [])
    assert unbound_names(guide[name].text) == {each["name"] for each in imports}
    for each in imports:
        (statement,) = ast.parse(each["line"]).body
        assert [alias.name for alias in statement.names] == [each["name"]]


@pytest.mark.parametrize("name", PYTHON_BLOCKS)
def test_nothing_of_the_block_is_changed_but_the_package_in_its_imports(guide, name):
    block = guide[name].text
    code = guide.source(name)
    added = forgotten().get(name, {})
    before = "".join(f"{each['line']}\n" for each in added.get("imports", []))
    body = code.removeprefix(before).removesuffix(added.get("after", ""))
    changed = [
        (old, new)
        for old, new in zip(block.splitlines(), body.splitlines(), strict=True)
        if old != new
    ]
    for old, new in changed:
        assert old.startswith("from nexus.")
        assert new == old.replace("from nexus.", "from nexus_actors.", 1)


def test_all_that_is_stated_is_for_a_block_that_there_is(guide):
    assert forgotten().keys() <= guide.blocks.keys()
    assert replacements().keys() <= guide.blocks.keys()


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, all in replacements().items() for n in range(len(all))]
)
def test_each_replacement_fits_the_block_in_exactly_one_place(guide, name, number):
    each = replacements()[name][number]
    assert guide[name].text.count(each["old"]) == 1
    assert each["new"] in guide.source(name, "in Trio")


@pytest.mark.parametrize("name", PYTHON_BLOCKS)
def test_no_asyncio_is_left_in_the_trio_form(guide, name):
    code = guide.source(name, "in Trio")
    for word in ("asyncio", "aiohttp", "run_in_executor", "create_task", "wait_for"):
        assert word not in code
    if name not in replacements():  # a Trio plugin as it stands
        assert code == guide.source(name)


def test_the_manifest_is_json_for_the_first_plugin(guide):
    manifest = json.loads(guide["manifest"].text)
    assert manifest["name"] == "my-first-plugin"
    module, _, cls = manifest["entry_point"].partition(":")
    assert module == "plugin"
    assert f"class {cls}(" in guide["my-first-plugin"].text


# The machinery itself, on a guide of our own.


def small_guide(tmp_path: Path) -> Path:
    path = tmp_path / "guide.md"
    path.write_text(
        textwrap.dedent(
            """\
            # Title
            ## Basic Plugin Template
            words
            ```python
            # plugin.py
            from nexus.plugin import Plugin
            x = "from nexus.plugin"
            ```
            ```bash
            # not a heading
            ```
            ### A new chapter
            ```json
            {}
            ```
            """
        )
    )
    return path


def test_blocks_are_found_by_their_heading(tmp_path):
    guide = read_guide(small_guide(tmp_path))
    assert list(guide.blocks) == ["my-first-plugin", "A new chapter"]
    assert guide["my-first-plugin"].line == 5
    assert guide["my-first-plugin"].line_of('x = "') == 7
    assert guide["A new chapter"].text == "{}\n"
    with pytest.raises(GuideChanged, match="has no 'gone'"):
        guide["my-first-plugin"].line_of("gone")


def test_only_import_statements_are_renamed():
    text = 'from nexus.http import get\nimport nexus.events\nx = "from nexus.http"\n    nexus.y\n'
    assert renamed(text) == text.replace(
        "from nexus.http import", "from nexus_actors.http import"
    ).replace("import nexus.events", "import nexus_actors.events")


@pytest.mark.parametrize("text", ["", "await asyncio.sleep(0.1)\nawait asyncio.sleep(0.1)\n"])
def test_a_replacement_that_does_not_fit_once_says_so(text):
    with pytest.raises(GuideChanged, match=r"integration-tests fits in [02] places, not in one"):
        replaced("integration-tests", text)


@pytest.mark.parametrize(
    ("code", "unbound"),
    [
        ("x", {"x"}),
        ("import a.b as c, d.e\nc, d, a", {"a"}),
        ("def f(p, *q, r: T = 1, **s): return p, q, r, s, f", {"T"}),
        ("class A(B):\n    x: C", {"B", "C"}),
        ("try: pass\nexcept E as e: e", {"E"}),
        ("[y for y in z]; print(len, __name__)", {"z"}),
        ("with o() as w: w", {"o"}),
    ],
)
def test_the_names_a_block_forgot_are_found(code, unbound):
    assert unbound_names(code) == unbound


def test_a_block_without_a_line_says_that_the_guide_changed():
    with pytest.raises(GuideChanged):
        Block("setup", "python", 1, "x = 1\n").line_of("y")


@pytest.mark.parametrize(
    ("env", "outcome"),
    [
        ({}, "1 skipped"),
        ({"CI": "1"}, "1 error"),
        ({"NEXUS_GUIDE": "nowhere.md"}, "1 error"),
        ({"NEXUS_GUIDE": "{guide}", "CI": "1"}, "1 failed"),  # read, and seen to be another guide
    ],
)
def test_without_the_guide_the_tests_are_skipped_and_in_ci_they_fail(tmp_path, env, outcome):
    """Seen on this folder's own conftest, in a clone that has no guide beside it."""
    clone = tmp_path / "somewhere" / "clone" / "tests" / "guide"
    clone.mkdir(parents=True)
    for name in ("conftest.py", "test_blocks.py", "forgotten.toml", "support", "trio"):
        (clone / name).symlink_to(Path(__file__).parent / name)
    (clone / "conftest.py").unlink()
    (clone / "conftest.py").write_bytes((Path(__file__).parent / "conftest.py").read_bytes())
    guide = str(small_guide(tmp_path))
    clean = {k: v for k, v in os.environ.items() if k not in ("CI", "NEXUS_GUIDE")}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"),
            *("-rs", "-k", "test_the_guide_has_these_blocks", "."),
        ],
        cwd=clone,
        env=clean
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        | {key: value.format(guide=guide) for key, value in env.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome in run.stdout
    if "skipped" in outcome or "error" in outcome:
        assert "set NEXUS_GUIDE to the file" in run.stdout
