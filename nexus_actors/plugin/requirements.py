"""Versions a manifest asks for, compared with what is here: plugin interface, Python, packages."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

import nexus_actors
from nexus_actors.errors import Fault
from nexus_actors.words import shown

__all__ = ["installed_version", "requirement_faults", "specifier_fault", "version_fault"]

_BARE = re.compile(r"\s*v?(\d+(?:\.\d+)*)\s*")
_OTHER_WORLDS = re.compile(r"\s*[\^~](?!=)\s*v?(\d+(?:\.\d+)*)\s*")


def version_fault(text: str, where: str) -> Iterator[Fault]:
    """What is wrong with ``text`` as the version of a plugin."""
    try:
        Version(text)
    except InvalidVersion:
        yield Fault(where, f"{shown(text)} is not a version", 'write numbers, such as "1.0.0"')


def specifier_fault(text: str, where: str) -> Iterator[Fault]:
    """What is wrong with ``text`` as a set of versions; nothing at all is any version."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        yield Fault(where, f"{shown(text)} is not a set of versions", _specifier_advice(text))


def _specifier_advice(text: str) -> str:
    bare, other = _BARE.fullmatch(text), _OTHER_WORLDS.fullmatch(text)
    if bare:
        return f'write ">={bare[1]}" for that or newer, "=={bare[1]}" for just that'
    if other:
        parts = other[1].split(".")
        return f'write ">={other[1]},<{int(parts[0]) + 1}"'
    if text.strip() in ("*", "latest", "any"):
        return 'write ">=0" for any version'
    return 'write for example ">=1.0,<2"'


def installed_version(package: str) -> str | None:
    """The version of an installed package, None where it is not installed."""
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def requirement_faults(
    *,
    nexus_version: str,
    python: str,
    packages: Mapping[str, str],
    where: str,
    python_version: str | None = None,
    installed: Callable[[str], str | None] = installed_version,
) -> Iterator[Fault]:
    """What is missing here; takes only well-formed sets of versions.

    ``python_version`` and ``installed`` are this interpreter's where they are left out.
    """
    here = nexus_actors.PLUGIN_API
    if not SpecifierSet(nexus_version).contains(here, prereleases=True):
        yield Fault(
            f"{where}: nexus_version",
            f"{shown(nexus_version)} does not take in the plugin interface here, {here}",
            f'write ">={here}" if the plugin runs with it, else take another Nexus Actors',
        )
    running = python_version or platform.python_version()
    if not SpecifierSet(python).contains(running, prereleases=True):
        yield Fault(
            f"{where}: dependencies.python",
            f"{shown(python)} does not take in this Python, {running}",
            "run the node with another Python, or widen it",
        )
    for package, versions in packages.items():
        yield from _package_fault(package, versions, f"{where}: dependencies.packages", installed)


def _package_fault(
    package: str, versions: str, where: str, installed: Callable[[str], str | None]
) -> Iterator[Fault]:
    try:
        requirement = Requirement(f"{package}{versions}")
    except InvalidRequirement:
        yield Fault(
            f"{where}.{package}",
            f"{shown(package)} is not the name of a package",
            'write the name as pip knows it, such as "requests"',
        )
        return
    install = f"pip install '{requirement}'"
    version = installed(requirement.name)
    if version is None:
        yield Fault(f"{where}.{package}", f"{requirement.name} is not installed", install)
    elif not requirement.specifier.contains(version, prereleases=True):
        yield Fault(
            f"{where}.{package}",
            f"{requirement.name} {version} is installed, {requirement.specifier} is needed",
            install,
        )
