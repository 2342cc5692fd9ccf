"""Takes the fenced blocks out of a page, each with the file it stands for, where the page says so.

A block is a file when the line before it ends with the path in backquotes and a colon, as in
"`plugins/hello/plugin.py`:". A Python block that begins with ``# add to PATH`` is a method to be
added to the class at the end of that file.
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)+)`:$")
_ADD = re.compile(r"# add to (\S+)\n")


@attrs.frozen
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str
    file: str | None
    """The path of the file that it is."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def addition(self) -> str | None:
        """The path of the file that it is to be added to."""
        found = _ADD.match(self.text)
        return found[1] if found else None

    def write_below(self, folder: Path) -> None:
        """Do with it what the page says: write it, or add it to what is there."""
        if self.file is not None:
            path = folder / self.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text, "utf-8")
        elif self.addition is not None:
            path = folder / self.addition
            method = textwrap.indent(self.text.split("\n", 1)[1], "    ")
            path.write_text(path.read_text("utf-8").rstrip() + "\n\n" + method, "utf-8")


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of ``page``, in order."""
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text("utf-8").splitlines()
    number, before = 0, ""
    while number < len(lines):
        fence = re.match(r"( *)```(\w*)", lines[number])
        if not fence:
            before = lines[number] or before
            number += 1
            continue
        end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
        text = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
        found = _FILE.search(before)
        yield Block(page, number + 1, fence[2], text, found[1] if found else None)
        number, before = end + 1, ""
