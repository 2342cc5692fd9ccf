"""Imports a plugin's class, whatever its modules do on the way: every failure is a fault in words.

A plugin folder is loaded as the package ``nexus_plugins.<name_with_underscores>``, its file
``plugin.py`` as the module ``plugin`` in it. So ``from .models import Order`` works, and so does
``from my_first_plugin.models import Order``: the short name is an alias for the same modules, made
only where nothing else answers to it. Nothing is added to ``sys.path``, so ``from models import
Order`` does not work: every plugin may have a ``models.py``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from nexus_actors import log
from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin.discovery import PACKAGE, Found
from nexus_actors.plugin.interrupts import watching_ctrl_c
from nexus_actors.plugin.manifest import module_name
from nexus_actors.plugin.stalls import StallInterrupt, importing
from nexus_actors.words import nearest, shown, shown_path

__all__ = ["forget_plugin", "load_class", "load_module", "open_folder"]

T = TypeVar("T")

_OLD_NAME = re.compile(r"(?<![.\w])nexus(?=[.\s]|$)")


def load_class(found: Found, base: type[T]) -> type[T]:
    """The class that ``found``'s entry point names; it must be a subclass of ``base``.

    Raises:
        Invalid: the plugin has no manifest, its modules cannot be imported, or the class is not
            there, no class or none of ``base``.
        KeyboardInterrupt: Ctrl-C was pressed; one that the plugin itself raises is its fault.
    """
    if found.manifest is None:
        raise Invalid(found.faults)
    module = load_module(found)
    name = found.manifest.entry_point.cls
    where = f"{found.where}: entry_point"
    fitting = _classes(module, base)
    advice = f"write a class that extends {base.__name__} in {_file_of(module)}"
    if fitting:
        advice = f'write for example "{found.manifest.entry_point.module}:{fitting[0]}"'
    if not hasattr(module, name):
        hint = nearest(name, fitting or _classes(module, object))
        raise Invalid([Fault(where, f"there is no {name} in {_file_of(module)}{hint}", advice)])
    cls = getattr(module, name)
    if not isinstance(cls, type):
        what = f"{name} in {_file_of(module)} is {_kind(cls)}, not a class"
        raise Invalid([Fault(where, what, advice)])
    if not issubclass(cls, base) or cls is base:
        line = f"write `class {name}({base.__name__})`"
        what = f"{name} in {_file_of(module)} does not extend {base.__name__}"
        raise Invalid([Fault(where, what, line)])
    return cls


def load_module(found: Found) -> ModuleType:
    """The module of ``found``'s entry point, imported.

    Raises:
        Invalid: the import failed; the fault has the file and line in the plugin.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    if found.origin == "folder":
        assert found.folder is not None, "a plugin from a folder has one"
        open_folder(found.name, found.folder)
    else:
        log.label(found.module.rpartition(".")[0] or found.module, found.name)
    importlib.invalidate_caches()  # a file written a moment ago may be missing in them
    with watching_ctrl_c() as ctrl_c:
        try:
            with importing(found.name):
                module = importlib.import_module(found.module)
        except BaseException as error:  # a plugin's import may raise anything, SystemExit too
            if ctrl_c.is_behind(error):
                raise KeyboardInterrupt from error
            fault = _import_fault(error, found)
        else:
            if ctrl_c.pressed:  # and the plugin has swallowed it
                raise KeyboardInterrupt
            return module
    if found.origin == "folder":
        forget_plugin(found.name)  # the half that was imported would outlive its author's mending
    raise Invalid([fault])


def open_folder(name: str, folder: Path) -> str:
    """Make ``folder`` the package of the plugin ``name``, with its alias; nothing is imported.

    Returns the package's name, ``nexus_plugins.my_first_plugin``. A package of that name from
    another folder is forgotten first.
    """
    short = module_name(name)
    full = f"{PACKAGE}.{short}"
    folder = folder.resolve()
    known = sys.modules.get(full)
    if known is not None and list(known.__path__) == [str(folder)]:
        return full
    forget_plugin(name)
    parent = sys.modules.get(PACKAGE)
    if parent is None:
        parent = _bare_package(PACKAGE, [])
        sys.modules[PACKAGE] = parent
    init = folder / "__init__.py"
    if not init.is_file():
        package = _bare_package(full, [str(folder)])
        sys.modules[full] = package
        setattr(parent, short, package)
    else:
        # its code runs when the import system comes to it, where a failure is caught
        _finder.packages[full] = folder
    _give_alias(short, full, folder)
    return full


def forget_plugin(name: str) -> None:
    """Drop the modules of the plugin ``name``, so that the next import reads its files anew."""
    short = module_name(name)
    full = f"{PACKAGE}.{short}"
    for module in [*sys.modules]:
        if _is_below(module, full) or (short in _finder.aliases and _is_below(module, short)):
            del sys.modules[module]
    _finder.aliases.pop(short, None)
    _finder.packages.pop(full, None)
    parent = sys.modules.get(PACKAGE)
    if parent is not None:
        vars(parent).pop(short, None)


def _is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _bare_package(name: str, path: Sequence[str]) -> ModuleType:
    """A package without an ``__init__.py``, with the search path ``path``."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = list(path)
    return module_from_spec(spec)


# The short name -------------------------------------------------------------------------------


def _give_alias(short: str, full: str, folder: Path) -> None:
    if _is_free(short, folder):
        _finder.aliases[short] = full
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _is_free(short: str, folder: Path) -> bool:
    """Whether nothing answers to ``short``, or only this very folder, found by way of sys.path."""
    try:
        spec = find_spec(short)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return True
    places = spec.submodule_search_locations or ()
    return [Path(place).resolve() for place in places] == [folder]


class _AliasFinder(MetaPathFinder):
    """Answers for the short names of plugins, and for plugin packages with an ``__init__.py``."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        """Short name and full name of each plugin that has an alias."""
        self.packages: dict[str, Path] = {}
        """Full name and folder of each plugin that has an ``__init__.py``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the real module under its alias; None for every other name."""
        folder = self.packages.get(fullname)
        if folder is not None:
            return spec_from_file_location(
                fullname, folder / "__init__.py", submodule_search_locations=[str(folder)]
            )
        short, dot, rest = fullname.partition(".")
        full = self.aliases.get(short)
        if full is None:
            return None
        real = f"{full}{dot}{rest}"
        if find_spec(real) is None:
            return None
        return spec_from_loader(fullname, _AliasLoader(real))


class _AliasLoader(Loader):
    """Gives out the module that is known by another name: one module, so one class, not two."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The real module, imported now if it was not yet."""
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run already; only the import system's own mark on it is put back."""
        module.__spec__ = self._spec


_finder = _AliasFinder()


# What went wrong ------------------------------------------------------------------------------


def _import_fault(error: BaseException, found: Found) -> Fault:
    folder = found.folder.resolve() if found.folder else None
    where, line = _place(error, folder, found)
    what = f"cannot be imported: {_words(error)}"
    return Fault(where, what, _advice(error, line, found))


def _place(error: BaseException, folder: Path | None, found: Found) -> tuple[str, str]:
    """File and line number in the plugin that the error came from, and what stands in the line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown_path(Path(error.filename))}:{error.lineno or 1}", error.text or ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        inside = folder is not None and folder in path.parents
        if inside or (found.source is not None and path == found.source):
            return f"{shown_path(path)}:{frame.lineno}", (frame.line or "").strip()
    return found.where, ""


def _words(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        line = (error.text or "").strip()
        return f"{type(error).__name__}: {error.msg}" + (f", in {shown(line)}" if line else "")
    if isinstance(error, SystemExit):
        return f"it ends the program (SystemExit: {error.code})"
    if isinstance(error, KeyboardInterrupt):
        return "it ends the program, as Ctrl-C does (KeyboardInterrupt)"
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a plugin's own exception class may fail at this too
        message = "(no message: its __str__ raises)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _advice(error: BaseException, line: str, found: Found) -> str:
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "take the exit away: a module is imported by the node, which goes on"
    if isinstance(error, SyntaxError):
        return "mend the line"
    if isinstance(error, StallInterrupt):
        return (
            "do it in initialize, or in a thread: the node waits while a module is imported "
            "(the setting node.stall_limit says how long)"
        )
    if not isinstance(error, ImportError):
        return "mend the line: it runs when the module is imported"
    missing = error.name or ""
    top = missing.partition(".")[0]
    if top == "nexus":
        return f"write `{_OLD_NAME.sub('nexus_actors', line)}`"
    if found.folder is not None and top and _is_own(found.folder, top):
        return (
            f"write `from .{missing} import ...`: the plugin's own modules are imported with a dot"
        )
    if isinstance(error, ModuleNotFoundError) and top and not missing.startswith(PACKAGE):
        if top == module_name(found.name):
            return f"there is no such module in {shown_path(found.folder or Path())}"
        return (
            f"pip install {top}, and name it in plugin.json under dependencies.packages "
            "(the package may have another name than the module)"
        )
    return "import what is there"


def _is_own(folder: Path, module: str) -> bool:
    return (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file()


def _classes(module: ModuleType, base: type) -> list[str]:
    """The classes of the module, its own first, that extend ``base``."""
    found = [
        (cls.__module__ != module.__name__, name)
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls is not base
    ]
    return [name for _, name in sorted(found)]


def _file_of(module: ModuleType) -> str:
    return shown_path(Path(module.__file__)) if module.__file__ else module.__name__


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
