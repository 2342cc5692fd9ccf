"""The values of a plugin's configuration: from environment, ``nexus.toml`` and the defaults.

An option ``max_entries`` of the plugin ``my-first-plugin`` is, first that is there: the variable
``NEXUS_PLUGINS_MY_FIRST_PLUGIN_MAX_ENTRIES``, the key in ``[plugins.my-first-plugin]``, the
default. Options inside an object have variables of their own: ``..._EMAIL_PASSWORD``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from nexus_actors.config import Settings
from nexus_actors.errors import Fault, Invalid
from nexus_actors.plugin.manifest import Manifest
from nexus_actors.plugin.values import MISSING, Option, expected, value_faults
from nexus_actors.words import MASK, nearest, read_boolean, read_number, shown

__all__ = ["PluginConfig", "plugin_config", "strange_options", "variable_name", "variables_of"]

PREFIX = "NEXUS_PLUGINS_"


class PluginConfig(dict[str, Any]):
    """What a plugin's ``__init__`` gets: a dict, checked, with defaults; its repr hides secrets.

    Options without a value and without a default are absent, so ``config.get("batch_size", 100)``
    means what it says.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, options: Mapping[str, Option] | None = None
    ) -> None:
        super().__init__(values or {})
        self._options = options or {}

    def __repr__(self) -> str:
        return f"PluginConfig({_masked(self, self._options)!r})"

    def masked(self) -> dict[str, Any]:
        """A copy that may be shown: ``***`` in place of each secret."""
        return _masked(self, self._options)


def _masked(values: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    return {name: _masked_value(value, options.get(name)) for name, value in values.items()}


def _masked_value(value: Any, option: Option | None) -> Any:
    if option is None or value is None:
        return value
    if option.secret:
        return MASK
    if isinstance(value, Mapping) and option.properties is not None:
        return _masked(value, option.properties)
    if isinstance(value, list) and option.items is not None:
        return [_masked_value(item, option.items) for item in value]
    return value


def plugin_config(
    manifest: Manifest,
    table: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    where: str = "",
) -> PluginConfig:
    """The configuration of one plugin, checked against its manifest, defaults filled in.

    ``table`` is ``[plugins.<name>]`` without ``enabled``; ``where`` names it in faults
    (``"nexus.toml: plugins.shop"``). ``environ`` is searched for the plugin's variables.

    Raises:
        Invalid: with everything that is wrong, naming source, key, value (but no secret) and fix.
    """
    options = manifest.configuration
    where = where or f"[plugins.{manifest.name}]"
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    for name, value in (table or {}).items():
        if name in options:
            values[name] = deepcopy(value)
            faults += value_faults(options[name], value, f"{where}.{name}", partial=True)
        else:
            known = f"{manifest.name} has {', '.join(options)}" if options else "it has no options"
            faults.append(
                Fault(f"{where}.{name}", f"no such option{nearest(name, options)}", known)
            )
    given = _from_variables(options, f"{PREFIX}{_upper(manifest.name)}", environ or {}, faults)
    _merge(values, given)
    faults += _missing(options, values, where, f"{PREFIX}{_upper(manifest.name)}")
    if faults:
        raise Invalid(faults)
    _fill(options, values)
    return PluginConfig(values, options)


def _merge(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Put ``given`` over ``values``, object by object."""
    for name, value in given.items():
        here = values.get(name)
        if isinstance(value, _Parts) and isinstance(here, dict):
            _merge(here, value)
        else:
            values[name] = value


class _Parts(dict[str, Any]):
    """An object of which only some options were given, each by a variable of its own."""


def _from_variables(
    options: Mapping[str, Option], prefix: str, environ: Mapping[str, str], faults: list[Fault]
) -> _Parts:
    found = _Parts()
    for name, option in options.items():
        variable = f"{prefix}_{_upper(name)}"
        if variable in environ:
            try:
                value = _read(option, environ[variable])
            except ValueError as error:
                faults.append(Fault(variable, str(error), f"write {_in_variable(option)}"))
                continue
            faults += value_faults(option, value, variable, partial=True)
            found[name] = value
        if option.properties:
            parts = _from_variables(option.properties, variable, environ, faults)
            if parts and isinstance(found.get(name), dict):
                _merge(found[name], parts)
            elif parts:
                found[name] = parts
    return found


def _in_variable(option: Option) -> str:
    """What to write in a variable, which is always a text."""
    if option.type == "array":
        return 'an array as JSON, such as ["a", "b"]'
    if option.type == "object":
        return 'an object as JSON, such as {"key": "value"}'
    return expected(option)


def _read(option: Option, text: str) -> Any:
    """A variable's text as a value of the option's type, or as it is where it is none.

    Raises:
        ValueError: with what is wrong, and no secret in it.
    """
    match option.type:
        case "boolean":
            truth = read_boolean(text)
            return text if truth is None else truth
        case "integer" | "number":
            number = read_number(text)
            return text if number is None else number
        case "array" | "object":
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                raise ValueError(f"not JSON: {shown(text, secret=_holds_secret(option))}") from None
    return text


def _holds_secret(option: Option) -> bool:
    inner = [*(option.properties or {}).values(), *([option.items] if option.items else [])]
    return option.secret or any(_holds_secret(one) for one in inner)


def _missing(
    options: Mapping[str, Option], values: Mapping[str, Any], where: str, prefix: str
) -> Iterator[Fault]:
    """Required options without a value; those inside an object only count where the object is."""
    for name, option in options.items():
        variable = f"{prefix}_{_upper(name)}"
        value = values.get(name, option.default)
        if value is MISSING and option.required:
            advice = f"write {expected(option)} there, or set {variable}"
            yield Fault(f"{where}.{name}", "is required", advice)
        elif isinstance(value, Mapping) and option.properties:
            yield from _missing(option.properties, value, f"{where}.{name}", variable)


def _fill(options: Mapping[str, Option], values: dict[str, Any]) -> None:
    """Put in the defaults, also of options inside an object."""
    for name, option in options.items():
        if name not in values and option.default is not MISSING:
            values[name] = deepcopy(option.default)
        if option.properties:
            inner = values.get(name, {})
            if isinstance(inner, dict):
                _fill(option.properties, inner)
                if inner:
                    values[name] = inner


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


# The variables of all plugins together --------------------------------------------------------


def variable_name(plugin: str, *path: str) -> str:
    """The variable of an option: ``NEXUS_PLUGINS_NOTIFICATIONS_EMAIL_PASSWORD``."""
    return PREFIX + "_".join(_upper(part) for part in (plugin, *path))


def variables_of(manifest: Manifest) -> dict[str, str]:
    """Each variable that sets an option of the plugin, and the path of that option."""

    def below(options: Mapping[str, Option], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for name, option in options.items():
            yield variable_name(manifest.name, *path, name), ".".join((*path, name))
            yield from below(option.properties or {}, (*path, name))

    return dict(below(manifest.configuration, ()))


def strange_options(
    manifests: Iterable[Manifest], settings: Settings, *, broken: Iterable[str] = ()
) -> list[Fault]:
    """What the settings say to plugins and none of them listens to: a table or a variable too many.

    ``broken`` are the names of plugins that are there without a usable manifest: nothing is said
    of their tables and variables. Two options that would share one variable are named as well.
    """
    manifests = list(manifests)
    known = {*(manifest.name for manifest in manifests), *broken}
    faults = [
        Fault(
            table.where or f"[plugins.{name}]",
            f"there is no plugin {shown(name)}{nearest(name, known)}",
            "rename the table or take it away",
        )
        for name, table in settings.plugins.items()
        if name not in known
    ]
    owners: dict[str, list[str]] = {}
    for manifest in manifests:
        for variable, path in variables_of(manifest).items():
            owners.setdefault(variable, []).append(f"{path} of {manifest.name}")
    for variable, paths in owners.items():
        if len(paths) > 1 and variable in settings.environ:
            faults.append(
                Fault(variable, f"could be {' or '.join(paths)}", "set them in nexus.toml instead")
            )
    skipped = tuple(f"{PREFIX}{_upper(name)}_" for name in broken)
    enabled = {variable_name(name, "enabled") for name in known}
    for variable in sorted(settings.environ):
        if variable in owners or variable in enabled or variable.startswith(skipped):
            continue
        hint = nearest(variable, owners, cutoff=0.85)
        faults.append(Fault(variable, f"no plugin has such an option{hint}", "rename or unset it"))
    return faults
