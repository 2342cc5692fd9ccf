"""``plugin.json`` as a class: every field checked, and all that is wrong with it named at once.

The shape is checked by the JSON schema beside this file, which is also what editors use; what a
schema cannot say (versions, permissions, options that contradict themselves, what is installed
here) is checked in Python; cattrs then makes the classes.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs

from nexus_actors.actors import Overflow
from nexus_actors.errors import Fault, Invalid
from nexus_actors.permissions import Permissions, parse_permission
from nexus_actors.plugin.jsontext import read_json
from nexus_actors.plugin.requirements import requirement_faults, specifier_fault, version_fault
from nexus_actors.plugin.schema import schema_faults, suggested_name
from nexus_actors.plugin.values import Option, option_faults
from nexus_actors.words import nearest, shown, shown_path
from supervisors.backoff import Backoff

__all__ = [
    "Deadlines",
    "EntryPoint",
    "MailboxOptions",
    "Manifest",
    "Supervision",
    "default_manifest",
    "module_name",
    "parse_manifest",
    "read_manifest",
]

FILE_NAME = "plugin.json"
LARGEST = 1024**2
"""Bytes of a manifest; more is surely another file."""


@attrs.frozen
class EntryPoint:
    """Where the plugin's class is: ``plugin:MyPlugin``."""

    module: str
    """Dotted, below the plugin's folder: ``plugin`` is ``plugin.py``."""
    cls: str

    @classmethod
    def parse(cls, text: str) -> EntryPoint:
        """From ``"module:Class"``, already known to be well-formed."""
        module, _, name = text.partition(":")
        return cls(module, name)

    def __str__(self) -> str:
        return f"{self.module}:{self.cls}"


@attrs.frozen
class Supervision:
    """How the plugin comes back; OTP's words, with a plugin's own defaults."""

    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = "rest_for_one"
    intensity: int = 5
    period: float = 30.0
    """Seconds."""
    shutdown: float | Literal["infinity", "brutal_kill"] = 5.0
    """Seconds the plugin may take to stop, ``cleanup`` included."""
    backoff: Backoff | None = None
    """None: no pause between tries."""


@attrs.frozen
class MailboxOptions:
    """How many messages may wait, how large each may be, and what happens to one more."""

    capacity: int = 1000
    overflow: Overflow = "refuse"
    max_size: int | None = None
    """Bytes that one message may hold; None for no limit."""


@attrs.frozen
class Deadlines:
    """Seconds things may take in this plugin; None is the node's setting."""

    initialize: float | None = None
    handler: float | None = None
    """Handlers of events, tells and timers."""


@attrs.frozen(kw_only=True)
class Manifest:
    """All that a plugin says about itself. Read one with :func:`read_manifest`.

    Field by field it is described in ``docs/manifest.md``. Lists are tuples and nothing in it
    changes after it is read.
    """

    name: str
    version: str
    entry_point: EntryPoint
    description: str = ""
    author: str = ""
    email: str = ""
    license: str = ""
    nexus_version: str = ""
    """A set of versions (PEP 440), as ``python`` is; empty is any."""
    python: str = ""
    packages: Mapping[str, str] = attrs.field(factory=dict)
    """Package and set of versions."""
    permissions: Permissions = attrs.field(factory=Permissions)
    """What the plugin may do; ask it with ``permissions.allows(...)``."""
    configuration: Mapping[str, Option] = attrs.field(factory=dict)
    category: str = ""
    tags: tuple[str, ...] = ()
    supervision: Supervision = attrs.field(factory=Supervision)
    mailbox: MailboxOptions = attrs.field(factory=MailboxOptions)
    concurrency: int = 1
    readers: int = 64
    max_sessions: int = 1000
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    on_error: Literal["reply", "restart"] | None = None
    """None: the kind of message decides."""
    fault_limit: int | None = None
    """None: faults in answering never restart the plugin."""
    fault_period: float = 60.0
    """Seconds."""
    requires: tuple[str, ...] = ()
    async_library: Literal["trio", "asyncio"] | None = None
    """None: the sources decide, see :mod:`nexus_actors.plugin.library`."""
    isolation: Literal["task"] = "task"


def read_manifest(
    path: Path, *, folder: Path | None = None, check_installed: bool = True
) -> Manifest:
    """The manifest in the file ``path``.

    With ``folder`` (the plugin's own) its name and the module of the entry point are compared with
    what is there. ``check_installed=False`` leaves out whether interface, Python and packages
    are there in the versions asked for.

    Raises:
        Invalid: with everything that is wrong with it, each with path and fix.
    """
    where = shown_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise Invalid(
            [Fault(where, f"cannot be read: {error.strerror}", "put a readable plugin.json there")]
        ) from None
    if len(content) > LARGEST:
        raise Invalid([Fault(where, f"longer than {LARGEST} bytes", "is it the right file?")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(
            [Fault(where, f"not UTF-8 at byte {error.start}", "save the file as UTF-8")]
        ) from None
    return parse_manifest(text, where, folder=folder, check_installed=check_installed)


def parse_manifest(
    text: str,
    where: str = FILE_NAME,
    *,
    folder: Path | None = None,
    check_installed: bool = True,
) -> Manifest:
    """The manifest in ``text``; otherwise as :func:`read_manifest`.

    Raises:
        Invalid: with everything that is wrong with it, each with path and fix.
    """
    document = read_json(text, where)
    faults = schema_faults(document, where)
    if isinstance(document, dict):
        faults += [*_further_faults(document, where, {fault.where for fault in faults})]
        if folder is not None:
            faults += _place_faults(document, where, folder)
        if check_installed:
            faults += _installed_faults(document, where)
    if faults:
        raise Invalid(faults)
    manifest: Manifest = _CONVERTER.structure(_flat(document), Manifest)
    return manifest


def default_manifest(
    name: str,
    *,
    version: str = "0",
    entry_point: str = "plugin:Plugin",
    description: str = "",
    author: str = "",
    license: str = "",
) -> Manifest:
    """What a plugin without a ``plugin.json`` is taken to say: nothing it needs, no permissions."""
    return Manifest(
        name=name,
        version=version,
        entry_point=EntryPoint.parse(entry_point),
        description=description,
        author=author,
        license=license,
    )


def module_name(name: str) -> str:
    """The plugin's name as Python can say it: ``my-first-plugin`` is ``my_first_plugin``."""
    return name.replace("-", "_")


def _further_faults(
    document: Mapping[str, Any], where: str, refused: Collection[str]
) -> Iterator[Fault]:
    """What the schema cannot say; values it ``refused``, by their places, are left alone."""
    name = document.get("name")
    if isinstance(name, str) and keyword.iskeyword(module_name(name)):
        yield Fault(
            f"{where}: name", f"{shown(name)} is a word of Python", f'write "{name}-plugin"'
        )
    if isinstance(document.get("version"), str):
        yield from version_fault(document["version"], f"{where}: version")
    for place, text in _specifiers(document):
        yield from specifier_fault(text, f"{where}: {place}")
    for index, text in _texts(document.get("permissions")):
        try:
            parse_permission(text, f"{where}: permissions[{index}]")
        except Invalid as invalid:
            yield from invalid.faults
    for index, text in _texts(document.get("requires")):
        if text == name:
            yield Fault(f"{where}: requires[{index}]", "is the plugin itself", "take it away")
    yield from _configuration_faults(document.get("configuration"), where, refused)
    supervision = document.get("supervision")
    backoff = supervision.get("backoff") if isinstance(supervision, dict) else None
    if isinstance(backoff, dict):
        first, most = (backoff.get(k, getattr(Backoff(), k)) for k in ("first", "maximum"))
        if _is_number(first) and _is_number(most) and first > most:
            yield Fault(
                f"{where}: supervision.backoff.first",
                f"{first:g} is more than maximum, {most:g}",
                "make first smaller or maximum larger",
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: object) -> Iterator[tuple[int, str]]:
    if isinstance(value, list):
        yield from ((index, item) for index, item in enumerate(value) if isinstance(item, str))


def _specifiers(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every set of versions in the manifest, with its place."""
    dependencies = document.get("dependencies")
    dependencies = dependencies if isinstance(dependencies, dict) else {}
    packages = dependencies.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    for place, text in (
        ("nexus_version", document.get("nexus_version")),
        ("dependencies.python", dependencies.get("python")),
        *((f"dependencies.packages.{name}", text) for name, text in packages.items()),
    ):
        if isinstance(text, str):
            yield place, text


def _configuration_faults(
    configuration: object, where: str, refused: Collection[str]
) -> Iterator[Fault]:
    if not isinstance(configuration, dict):
        return
    for name, raw in configuration.items():
        place = f"{where}: configuration.{name}"
        if name == "enabled":
            yield Fault(
                place,
                "this name is taken: `enabled = false` switches the plugin off",
                'write for example "active"',
            )
        if not any(one == place or one.startswith((f"{place}.", f"{place}[")) for one in refused):
            yield from option_faults(_CONVERTER.structure(raw, Option), place)


def _place_faults(document: Mapping[str, Any], where: str, folder: Path) -> Iterator[Fault]:
    """Name and entry point against the folder they stand in."""
    name = document.get("name")
    here = folder.resolve().name
    # An installed package cannot have a hyphen in its name, so an underscore will do.
    if isinstance(name, str) and name not in (here, here.replace("_", "-")):
        yield Fault(
            f"{where}: name",
            f"{shown(name)} is not the name of its folder, {shown(here)}",
            f'rename the folder to "{name}", or write "name": "{suggested_name(here)}"',
        )
    entry_point = document.get("entry_point")
    if isinstance(entry_point, str) and entry_point.count(":") == 1:
        module = EntryPoint.parse(entry_point).module
        path = folder.joinpath(*module.split("."))
        if not path.with_name(f"{path.name}.py").is_file() and not (path / "__init__.py").is_file():
            known = sorted(file.stem for file in folder.glob("*.py"))
            yield Fault(
                f"{where}: entry_point",
                f"there is no {path.name}.py for {shown(entry_point)}{nearest(module, known)}",
                "write the module and the class that are there, as in plugin:MyPlugin",
            )


def _installed_faults(document: Mapping[str, Any], where: str) -> Iterator[Fault]:
    good = {
        place: text
        for place, text in _specifiers(document)
        if not list(specifier_fault(text, place))
    }
    prefix = "dependencies.packages."
    yield from requirement_faults(
        nexus_version=good.get("nexus_version", ""),
        python=good.get("dependencies.python", ""),
        packages={
            place.removeprefix(prefix): text
            for place, text in good.items()
            if place.startswith(prefix)
        },
        where=where,
    )


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with ``dependencies`` opened up and ``$schema`` left out."""
    flat = {key: value for key, value in document.items() if key not in ("$schema", "dependencies")}
    return flat | dict(document.get("dependencies", {}))


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Permissions, lambda texts, _: Permissions.of(*texts))
    converter.register_structure_hook(EntryPoint, lambda text, _: EntryPoint.parse(text))
    shutdown = float | Literal["infinity", "brutal_kill"]
    converter.register_structure_hook(
        shutdown, lambda value, _: value if isinstance(value, str) else float(value)
    )
    return converter


_CONVERTER = _make_converter()
