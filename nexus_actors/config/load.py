"""Reads a node's settings from flags, environment and ``nexus.toml``, naming all faults at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from nexus_actors.config.rules import BadValue, Rule, convert
from nexus_actors.config.settings import (
    SECTIONS,
    PluginTable,
    Settings,
    each_setting,
    variable_of,
)
from nexus_actors.errors import Fault, Invalid
from nexus_actors.words import nearest, shown, shown_path, type_name

__all__ = ["load_settings"]

PLUGIN_PREFIX = "NEXUS_PLUGINS_"
CONFIG_VARIABLE = "NEXUS_CONFIG"
FILE_NAME = "nexus.toml"


@attrs.frozen
class _Said:
    """A value and who said it."""

    value: object
    source: str
    base: Path
    """Where relative paths start."""
    text: bool


def load_settings(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """The settings of a node, each from the first of flag, variable, ``nexus.toml`` and default.

    ``flags`` has the options of ``nexus run`` by name (``plugins``, ``bind``, ``database_url``,
    ``config``, ``data``); None means not given. ``environ`` is :data:`os.environ` and ``cwd`` the
    working folder where they are left out. The file is the flag's, else ``NEXUS_CONFIG``'s, else
    ``nexus.toml`` in ``cwd`` where there is one. Paths in it start at its folder, others at
    ``cwd``.

    Raises:
        Invalid: with everything that is wrong, each naming its source; passwords are masked.
    """
    flags = flags or {}
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    faults: list[Fault] = []

    file, document = _read_file(flags, environ, cwd, faults)
    tables = _sections(document, file, faults)
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    sources: dict[str, str] = {}
    for section, key, _default, rule in each_setting():
        said = _first_said(section, key, rule, flags, environ, tables, file, cwd)
        if said is None:
            continue
        sources[f"{section}.{key}"] = said.source
        try:
            values[section][key] = convert(rule, said.value, base=said.base, text=said.text)
        except BadValue as bad:
            faults.append(Fault(_place(said.source, section, key), bad.what, bad.fix))
    faults += _missing_folders(values["node"].get("plugins", ()), sources)
    plugins = _plugin_tables(document, file, faults)
    strange, warnings = _strange_variables(environ)
    faults += strange
    # Good values may contradict each other or a default, so build even where others were bad.
    try:
        settings = Settings(
            **{section: cls(**values[section]) for section, cls in SECTIONS.items()},
            plugins=plugins,
            config_file=file,
            environ={k: v for k, v in environ.items() if k.startswith(PLUGIN_PREFIX)},
            sources=sources,
            warnings=tuple(warnings),
        )
    except Invalid as invalid:
        raise Invalid([*faults, *invalid.faults]) from None
    if faults:
        raise Invalid(faults)
    return settings


def _place(source: str, section: str, key: str) -> str:
    """A variable or a flag is a place by itself; a file needs the key too."""
    return source if source.startswith(("--", "NEXUS_")) else f"{source}: {section}.{key}"


def _read_file(
    flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path, faults: list[Fault]
) -> tuple[Path | None, Mapping[str, Any]]:
    file, source = cwd / FILE_NAME, ""
    if flags.get("config") is not None:
        file, source = cwd / str(flags["config"]), "--config"
    elif environ.get(CONFIG_VARIABLE):
        file, source = cwd / environ[CONFIG_VARIABLE], CONFIG_VARIABLE
    if not source and not file.is_file():
        return None, {}
    try:
        return file, tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        faults.append(
            Fault(
                source or FILE_NAME,
                f"cannot read {shown_path(file)}: {error.strerror}",
                "name a file that exists and may be read",
            )
        )
    except UnicodeDecodeError as error:
        faults.append(
            Fault(shown_path(file), f"not UTF-8 at byte {error.start}", "save the file as UTF-8")
        )
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        faults.append(Fault(shown_path(file), f"not TOML: {error}", "mend the line"))
    return file, {}


def _sections(
    document: Mapping[str, Any], file: Path | None, faults: list[Fault]
) -> Mapping[str, Mapping[str, Any]]:
    """The tables of the known sections; whatever else the file holds is a fault."""
    where = shown_path(file) if file else FILE_NAME
    homes: dict[str, list[str]] = {}
    for section, key, *_ in each_setting():
        homes.setdefault(key, []).append(section)
    tables: dict[str, Mapping[str, Any]] = {}
    for name, table in document.items():
        if name == "plugins":
            continue
        if name in SECTIONS and isinstance(table, Mapping):
            tables[name] = table
            known = {key for section, key, *_ in each_setting() if section == name}
            faults += (
                Fault(
                    f"{where}: {name}.{key}",
                    f"no such setting{nearest(key, known)}",
                    _elsewhere(key, homes) or f"[{name}] has {', '.join(sorted(known))}",
                )
                for key in table
                if key not in known
            )
        elif name in SECTIONS:
            faults.append(
                Fault(f"{where}: {name}", f"{type_name(table)}, not a section", f"write [{name}]")
            )
        else:
            known = {*SECTIONS, "plugins"}
            faults.append(
                Fault(
                    f"{where}: {name}",
                    f"no such section{nearest(name, known)}",
                    _elsewhere(name, homes)
                    or "the sections are [node], [http], [database] and [plugins.<name>]",
                )
            )
    return tables


def _elsewhere(key: str, homes: Mapping[str, list[str]]) -> str:
    return f"{key} belongs under [{homes[key][0]}]" if key in homes else ""


def _first_said(
    section: str,
    key: str,
    rule: Rule,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    tables: Mapping[str, Mapping[str, Any]],
    file: Path | None,
    cwd: Path,
) -> _Said | None:
    flag = flags.get(rule.flag.removeprefix("--").replace("-", "_")) if rule.flag else None
    if flag is not None and flag != ():
        return _Said(flag, rule.flag, cwd, text=True)
    variable = variable_of(section, key, rule)
    # An empty variable is how a shell or a container file says "not set".
    if environ.get(variable):
        return _Said(_listed(rule, environ[variable]), variable, cwd, text=True)
    if file is not None and key in tables.get(section, {}):
        return _Said(tables[section][key], shown_path(file), file.parent, text=False)
    return None


def _listed(rule: Rule, text: str) -> object:
    """A list in a variable: folders as in PATH, names by commas."""
    if rule.kind == "paths":
        return [part for part in text.split(os.pathsep) if part]
    if rule.kind == "names":
        return [part for part in re.split(r"[,\s]+", text) if part]
    return text


def _missing_folders(folders: tuple[Path, ...], sources: Mapping[str, str]) -> Iterator[Fault]:
    for folder in folders:
        if not folder.is_dir():
            yield Fault(
                _place(sources["node.plugins"], "node", "plugins"),
                f"there is no folder {shown_path(folder)}",
                "name a folder that holds plugin folders",
            )


def _plugin_tables(
    document: Mapping[str, Any], file: Path | None, faults: list[Fault]
) -> dict[str, PluginTable]:
    where = f"{shown_path(file) if file else FILE_NAME}: plugins"
    tables = document.get("plugins", {})
    if not isinstance(tables, Mapping):
        faults.append(
            Fault(
                where,
                f"{type_name(tables)}, not a section",
                "write [plugins.<name>]; the folders to look in are `plugins` under [node]",
            )
        )
        return {}
    found: dict[str, PluginTable] = {}
    for name, table in tables.items():
        place = f"{where}.{name}"
        if not isinstance(table, Mapping):
            faults.append(
                Fault(place, f"{type_name(table)}, not a section", f"write [plugins.{name}]")
            )
            continue
        enabled = table.get("enabled", True)
        if not isinstance(enabled, bool):
            faults.append(
                Fault(
                    f"{place}.enabled",
                    f"{type_name(enabled)}, {shown(enabled)}",
                    "write true or false",
                )
            )
        options = {key: value for key, value in table.items() if key != "enabled"}
        found[name] = PluginTable(options, enabled is not False, place)
    return found


def _strange_variables(environ: Mapping[str, str]) -> tuple[list[Fault], list[Fault]]:
    """Variables that are no setting: a near miss is a fault, one in our sections a warning.

    Others are let be: NEXUS_ is a prefix that more programs than this one use.
    """
    known = {variable_of(section, key, rule) for section, key, _, rule in each_setting()}
    known.add(CONFIG_VARIABLE)
    faults: list[Fault] = []
    warnings: list[Fault] = []
    for name in sorted(environ):
        if name in known or not name.startswith("NEXUS_") or name.startswith(PLUGIN_PREFIX):
            continue
        tail = name.removeprefix("NEXUS_")
        close = get_close_matches(tail, [k.removeprefix("NEXUS_") for k in known], n=1, cutoff=0.75)
        if close:
            faults.append(
                Fault(
                    name,
                    f"no such variable; did you mean 'NEXUS_{close[0]}'?",
                    "rename or unset it",
                )
            )
        elif tail.startswith(("NODE_", "HTTP_", "DATABASE_")):
            warnings.append(Fault(name, "no such setting, so it is ignored", "unset it"))
    return faults, warnings
