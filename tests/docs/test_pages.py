"""The pages: what they show happens, what they link to is there, and none is left out."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, Block, blocks_of

from nexus_actors.config import load_settings
from nexus_actors.plugin.manifest import parse_manifest

DOCS = ROOT / "docs"
FOLLOWED = ["getting-started", "database", "services", "asyncio", "testing", "commands"]
"""Pages that are one story: files, commands and what they print, from top to bottom."""

BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


@pytest.mark.parametrize("page", FOLLOWED)
def test_what_the_page_shows_happens(page, session_with_database):
    session_with_database.follow(blocks_of(DOCS / f"{page}.md"))


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_in_the_pages_runs(block, monkeypatch):
    """A block that begins with imports is complete and runs; any other must be Python at least."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(block.text, str(block), "exec", flags=flags, dont_inherit=True)
    is_complete = block.text.startswith(("import ", "from ", '"""'))
    needs_its_folder = block.file is not None and "/tests/" in block.file
    if is_complete and not needs_its_folder and not code.co_flags & 0x80:  # CO_COROUTINE
        exec(code, {"__name__": "a_page"})


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_in_the_pages_is_json_and_manifests_have_no_faults(block):
    document = json.loads(block.text)
    if "entry_point" in document:
        parse_manifest(block.text, str(block), check_installed=False)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_settings_in_the_pages_have_no_faults(block, tmp_path):
    if "project" in tomllib.loads(block.text):
        return  # a pyproject.toml
    (tmp_path / "nexus.toml").write_text(block.text)
    for folder in re.findall(r'"([\w-]+)"', "".join(re.findall(r"plugins = \[.*?\]", block.text))):
        (tmp_path / folder).mkdir()
    load_settings(environ={}, cwd=tmp_path)


def test_the_index_names_every_page():
    index = (DOCS / "index.md").read_text("utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\(([\w./-]+\.md)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page):
    for target, anchor in _links(page):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in _anchors(path), f"{page.name} links to {target}#{anchor}"


def _links(page: Path) -> list[tuple[str, str]]:
    """The links of a page to other pages: file and anchor."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", text)
    return [(target, anchor) for target, anchor in found if target or anchor]


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
