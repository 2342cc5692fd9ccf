"""Finds plugins: folders with a ``plugin.json``, and installed packages with an entry point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import attrs

import nexus_actors
from nexus_actors.config import Settings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin.manifest import (
    FILE_NAME,
    EntryPoint,
    Manifest,
    default_manifest,
    module_name,
    read_manifest,
)
from nexus_actors.plugin.schema import suggested_name
from nexus_actors.words import shown, shown_path

__all__ = ["GROUP", "Found", "discover", "plugin_dirs", "shipped_dir"]

GROUP = "nexus.plugins"
"""The group of entry points under which installed plugins are found."""

PACKAGE = "nexus_plugins"
"""The package that plugins from folders are loaded into."""


@attrs.frozen
class Found:
    """A plugin that was found, be it good or broken."""

    name: str
    """The folder's name, or the entry point's; what the plugin is called even when it is broken."""
    origin: Literal["folder", "package"]
    where: str
    """The place in words: its manifest, or the entry point of a package without one."""
    module: str
    """The module that holds its class, as it will be known to Python."""
    folder: Path | None = None
    """Where its sources are; None where it is a single module of a package."""
    manifest: Manifest | None = None
    """None where it cannot be used; then there are faults."""
    faults: tuple[Fault, ...] = ()
    source: Path | None = None
    """Its single source file, where it has no folder of its own."""

    def sources(self) -> Iterator[Path]:
        """Its Python files, without tests: what is read to see which async library it uses."""
        if self.folder is None:
            yield from () if self.source is None else (self.source,)
            return
        for path in sorted(self.folder.rglob("*.py")):
            parts = path.relative_to(self.folder).parts
            if not _is_aside(parts):
                yield path


def _is_aside(parts: tuple[str, ...]) -> bool:
    """Whether a file below a plugin's folder is not part of the plugin: a test, an environment."""
    *folders, name = parts
    if any(part.startswith(".") or part in _ASIDE for part in folders):
        return True
    return name in ("conftest.py", "setup.py") or name.startswith("test_")


_ASIDE = frozenset({"tests", "test", "venv", "node_modules", "build", "dist", "__pycache__"})


def shipped_dir() -> Path:
    """The plugins that come with Nexus Actors: in the package, or beside it in a checkout."""
    package = Path(nexus_actors.__file__).parent
    shipped = package / "shipped"
    return shipped if shipped.is_dir() else package.parent / "plugins"


def plugin_dirs(settings: Settings, cwd: Path | None = None) -> tuple[Path, ...]:
    """The folders to look in: those named, else ``plugins`` in the working folder, else shipped."""
    if settings.plugin_dirs:
        return settings.plugin_dirs
    here = (Path.cwd() if cwd is None else cwd) / "plugins"
    return (here if here.is_dir() else shipped_dir(),)


def discover(dirs: Sequence[Path], *, entry_points: bool = True) -> list[Found]:
    """Every plugin in ``dirs`` and, unless told otherwise, among the installed packages, by name.

    A folder that holds a ``plugin.json`` itself is one plugin. Broken plugins are in the list, with
    their faults and without a manifest; so are two of one name, as one entry that names both.

    Raises:
        Invalid: one of ``dirs`` is no folder, or may not be read.
    """
    found = [plugin for folder in _plugin_folders(dirs) if (plugin := _look_at(folder))]
    if entry_points:
        taken = {_identity(plugin) for plugin in found}
        # A folder that is also installed (pip install -e) is one plugin, not two of one name.
        found += (p for p in _installed() if _identity(p) not in taken)
    return _without_twins(found)


def _identity(plugin: Found) -> tuple[str, Path | None]:
    return plugin.name, plugin.folder.resolve() if plugin.folder else None


def _plugin_folders(dirs: Sequence[Path]) -> list[Path]:
    faults: list[Fault] = []
    folders: dict[Path, Path] = {}
    for directory in dirs:
        try:
            if (directory / FILE_NAME).is_file():
                folders.setdefault(directory.resolve(), directory)
                continue
            for folder in sorted(directory.iterdir()):
                if not folder.name.startswith((".", "_")):
                    folders.setdefault(folder.resolve(), folder)
        except OSError as error:
            faults.append(
                Fault(
                    shown_path(directory),
                    f"cannot be read: {error.strerror}",
                    "name a folder that holds plugin folders",
                )
            )
    if faults:
        raise Invalid(faults)
    return list(folders.values())


def _look_at(folder: Path) -> Found | None:
    """What stands in ``folder``: a plugin, a broken one, or nothing of ours."""
    path = folder / FILE_NAME
    name = folder.resolve().name.replace("_", "-")
    if not path.exists():
        return _without_manifest(folder, name) if (folder / "plugin.py").exists() else None
    where = shown_path(path)
    try:
        manifest = read_manifest(path, folder=folder)
    except Invalid as invalid:
        module = _module_of(name, "plugin")
        return Found(name, "folder", where, module, folder, None, invalid.faults)
    module = _module_of(manifest.name, manifest.entry_point.module)
    return Found(manifest.name, "folder", where, module, folder, manifest)


def _module_of(name: str, module: str) -> str:
    return f"{PACKAGE}.{module_name(name)}.{module}"


def _without_manifest(folder: Path, name: str) -> Found:
    example = (
        f'{{"name": "{suggested_name(name)}", "version": "1.0.0", "entry_point": "plugin:<class>"}}'
    )
    where = shown_path(folder)
    fault = Fault(where, "has a plugin.py and no plugin.json", f"add a plugin.json: {example}")
    return Found(name, "folder", where, _module_of(name, "plugin"), folder, None, (fault,))


def _without_twins(found: Iterable[Found]) -> list[Found]:
    by_name: dict[str, list[Found]] = {}
    for plugin in found:
        by_name.setdefault(plugin.name, []).append(plugin)
    return [
        by_name[name][0] if len(by_name[name]) == 1 else _twins(by_name[name])
        for name in sorted(by_name)
    ]


def _twins(plugins: list[Found]) -> Found:
    """Two plugins of one name: neither is taken, for which was meant is not ours to guess."""
    places = [plugin.where for plugin in plugins]
    first = plugins[0]
    fault = Fault(
        first.where,
        f"{len(plugins)} plugins are called {shown(first.name)}: {' and '.join(places)}",
        "rename or remove all but one",
    )
    others = tuple(fault for plugin in plugins for fault in plugin.faults)
    return attrs.evolve(first, manifest=None, faults=(fault, *others))


# Installed packages ---------------------------------------------------------------------------


def _installed() -> Iterator[Found]:
    for entry in metadata.entry_points(group=GROUP):
        yield _look_at_entry(entry)


def _look_at_entry(entry: metadata.EntryPoint) -> Found:
    """The plugin behind an entry point, without importing anything of it."""
    where = f"entry point {entry.name} = {entry.value} of {_distribution(entry)}"
    broken = Found(entry.name, "package", where, entry.value.partition(":")[0])
    try:
        module, cls = entry.module, entry.attr or ""
    except (AttributeError, AssertionError):  # importlib.metadata's ways to say it is malformed
        module, cls = "", ""
    if not cls.isidentifier():
        fault = Fault(where, "is not module:Class", "write for example my_plugin.plugin:MyPlugin")
        return attrs.evolve(broken, faults=(fault,))
    if suggested_name(entry.name) != entry.name:
        fault = Fault(
            where,
            f"{shown(entry.name)} is not the name of a plugin",
            f'call it "{suggested_name(entry.name)}"',
        )
        return attrs.evolve(broken, faults=(fault,))
    source = _locate(module)
    if source is None:
        fault = Fault(where, f"there is no module {module}", "install the package anew")
        return attrs.evolve(broken, faults=(fault,))
    # A module at the top of site-packages has no folder of its own: all the others are there too.
    folder = source.parent if "." in module or source.name == "__init__.py" else None
    place = attrs.evolve(broken, module=module, folder=folder, source=source)
    path = folder / FILE_NAME if folder else None
    try:
        if path is not None and path.is_file():
            place = attrs.evolve(place, where=shown_path(path))
            manifest = _agreed(read_manifest(path), entry, path)
        else:
            manifest = _from_metadata(entry)
    except Invalid as invalid:
        return attrs.evolve(place, faults=invalid.faults)
    return attrs.evolve(place, manifest=manifest)


def _distribution(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown package"


def _agreed(manifest: Manifest, entry: metadata.EntryPoint, path: Path) -> Manifest:
    """The manifest of a package, whose entry point decides where the class is."""
    where = shown_path(path)
    faults = []
    if manifest.name != entry.name:
        faults.append(
            Fault(
                f"{where}: name",
                f"{shown(manifest.name)} is not the name of its entry point, {shown(entry.name)}",
                "write the same name in both",
            )
        )
    if manifest.entry_point.cls != entry.attr:
        faults.append(
            Fault(
                f"{where}: entry_point",
                f"{manifest.entry_point.cls} is not the class of its entry point, {entry.attr}",
                "write the same class in both",
            )
        )
    if faults:
        raise Invalid(faults)
    return attrs.evolve(manifest, entry_point=EntryPoint(entry.module, entry.attr))


def _from_metadata(entry: metadata.EntryPoint) -> Manifest:
    """What a package without a plugin.json says about itself: no permissions among it."""
    if entry.dist is None:
        return default_manifest(entry.name, entry_point=entry.value)
    about = entry.dist.metadata.json
    return default_manifest(
        entry.name,
        version=entry.dist.version,
        entry_point=entry.value.replace(" ", ""),
        description=str(about.get("summary", "")),
        author=str(about.get("author", "")),
        license=str(about.get("license_expression", about.get("license", ""))),
    )


def _locate(module: str) -> Path | None:
    """The file of a module, found by path alone: asking importlib would import its parents."""
    top, *below = module.split(".")
    try:
        spec = find_spec(top)  # imports nothing, and knows of editable installations
    except (ImportError, ValueError):
        return None
    name = top
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    return Path(spec.origin) if spec is not None and spec.origin else None
