"""The code blocks of the plugin guide, read from the guide itself at test time, made ready to run.

Nothing of the guide is copied here. To a block is done only this:

* `nexus.` becomes `nexus_actors.` in its imports;
* what the guide forgot is added, as `forgotten.toml` states it: imports before the block, and after
  it what a block needs to be seen working (the table it writes to, a route that shows a result);
* in its Trio form the replacements of `trio/replacements.toml` are made, each exactly once.
"""

from __future__ import annotations

import ast
import builtins
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import attrs

HERE = Path(__file__).parent.parent

Form = Literal["as it stands", "in Trio"]
FORMS: tuple[Form, ...] = ("as it stands", "in Trio")

NAMES = {
    "Basic Plugin Template": "my-first-plugin",
    "Plugin Manifest": "manifest",
    "1. Data Processing Plugin": "data-processor",
    "2. Integration Plugin": "external-api",
    "3. Notification Plugin": "notifications",
    "Unit Tests": "unit-tests",
    "Integration Tests": "integration-tests",
    "Plugin Packaging": "setup",
    "Plugin Communication": "communication",
    "Custom Middleware": "middleware",
}
"""What the tests call the block under each heading. A heading that is new or gone fails a test."""

PYTHON_BLOCKS = tuple(name for name in NAMES.values() if name != "manifest")


class GuideChanged(AssertionError):
    """The guide is no longer what a stated change was made for."""


@attrs.frozen
class Block:
    """One fenced block of the guide."""

    name: str
    """From :data:`NAMES`, or the heading itself where that does not know it."""
    language: str
    line: int
    """The guide's line on which its first line stands."""
    text: str

    def line_of(self, fragment: str) -> int:
        """The guide's line on which ``fragment`` first stands in this block."""
        before, found, _ = self.text.partition(fragment)
        if not found:
            raise GuideChanged(f"the guide's block {self.name} has no {fragment!r} any more")
        return self.line + before.count("\n")


@attrs.frozen
class Guide:
    """The guide's Python and JSON blocks by name, and its path."""

    path: Path
    blocks: dict[str, Block]

    def __getitem__(self, name: str) -> Block:
        return self.blocks[name]

    def source(self, name: str, form: Form = "as it stands") -> str:
        """A Python block as a module that can run."""
        return source(self.blocks[name], form)


def read_guide(path: Path) -> Guide:
    """The guide's Python and JSON blocks; others (shell, Docker, diagrams) are left out."""
    blocks: dict[str, Block] = {}
    heading = language = ""
    first, inside = 0, []
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not fenced:
            if found := re.match(r"#+ (.+)", line):
                heading = found[1].strip()
            elif line.startswith("```"):
                fenced, language, first, inside = True, line[3:].strip(), number + 1, []
        elif line.startswith("```"):
            fenced = False
            if language in ("python", "json"):
                name = NAMES.get(heading, heading)
                while name in blocks:
                    name += " (one more)"
                blocks[name] = Block(name, language, first, "".join(inside))
        else:
            inside.append(line)
    return Guide(path, blocks)


def forgotten() -> dict[str, Any]:
    """What the guide forgot, by block."""
    return tomllib.loads((HERE / "forgotten.toml").read_text(encoding="utf-8"))


def replacements() -> dict[str, list[dict[str, str]]]:
    """What makes a block a Trio plugin, by block: ``old`` and ``new`` text."""
    return tomllib.loads((HERE / "trio" / "replacements.toml").read_text(encoding="utf-8"))


def source(block: Block, form: Form) -> str:
    """``block`` as a module that can run.

    Raises:
        GuideChanged: a stated change does not fit any more.
    """
    text = renamed(block.text)
    added = forgotten().get(block.name, {})
    imports = [each["line"] for each in added.get("imports", [])]
    if form == "in Trio":
        text = replaced(block.name, text)
        imports = [each.get("in_trio", each["line"]) for each in added.get("imports", [])]
    parts = [*(f"{line}\n" for line in imports), text, added.get("after", "")]
    return "".join(parts)


def renamed(text: str) -> str:
    """The text with `nexus.` made `nexus_actors.` in import statements, and nowhere else."""
    return re.sub(r"^(from|import) nexus\.", r"\1 nexus_actors.", text, flags=re.MULTILINE)


def replaced(name: str, text: str) -> str:
    """The text with this block's replacements made, each of which must fit in one place only."""
    for each in replacements().get(name, []):
        if (count := text.count(each["old"])) != 1:
            raise GuideChanged(
                f"a replacement for the guide's block {name} fits in {count} places, not in one:\n"
                f"{each['old']}"
            )
        text = text.replace(each["old"], each["new"])
    return text


def unbound_names(code: str) -> set[str]:
    """The names a module uses without having them from anywhere: what its author forgot.

    A name counts as bound when anything in the module binds it, wherever: enough for honest code.
    """
    bound, used = set(dir(builtins)) | {"__name__", "__file__"}, set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=asname):
                bound.add(asname or name.partition(".")[0])
    return used - bound
