"""The command line: ``nexus run``, and the commands that make, check and look at plugins."""

from nexus_actors.cli.entry import main

__all__ = ["main"]
