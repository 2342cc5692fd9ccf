"""What a user types: every command with its options. What each does is in the file of its name."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from nexus_actors import __version__
from nexus_actors.cli.entry import INTERRUPTED, importing
from nexus_actors.cli.output import INTERNAL, OK, USAGE, show_faults
from nexus_actors.errors import Invalid

__all__ = ["app", "exit_code"]

# Each command imports what it does when it is called: `nexus --help` need not load a web server.

app = App(
    name="nexus",
    help="Runs plugins as supervised actors, and serves them over HTTP.",
    help_epilogue="`nexus COMMAND --help` says more. Everything else: docs/commands.md",
    version=__version__,
    suppress_keyboard_interrupt=False,  # it would end without a word
)

_Config = Annotated[
    Path | None, Parameter(help="The settings file; nexus.toml where there is one.")
]
_Data = Annotated[Path | None, Parameter(help="The node's own folder; .nexus by default.")]


def exit_code(tokens: Sequence[str] | None) -> int:
    """Run the command in ``tokens`` (None: ``sys.argv``); return the exit code. Raises nothing."""
    try:
        code = app(tokens, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except CycloptsError:  # cyclopts has said what is wrong
        return USAGE
    except Invalid as invalid:
        show_faults(invalid.faults)
        return USAGE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `nexus plugins --json | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
        return OK
    except Exception:  # noqa: BLE001 - the boundary to the shell: whatever it is, say whose fault
        traceback.print_exc()
        print("nexus: this is a fault of Nexus Actors itself; please report it", file=sys.stderr)
        return INTERNAL


@app.command
def run(
    *,
    plugins: Annotated[
        list[Path] | None,
        Parameter(
            help="A folder of plugin folders; may be given several times. Without it: plugins in "
            "the working folder where there is one, else the shipped ones.",
            negative=(),
        ),
    ] = None,
    bind: Annotated[str | None, Parameter(help="Where to serve: 127.0.0.1:8000.")] = None,
    database_url: Annotated[
        str | None,
        Parameter(help="postgresql://... of a server; else the node runs its own."),
    ] = None,
    http: Annotated[
        str | None, Parameter(help="The way of requests: shortcut, or stock, Hypercorn's own.")
    ] = None,
    config: _Config = None,
    data: _Data = None,
) -> int:
    """Run a node until Ctrl-C or SIGTERM."""
    with importing():
        from nexus_actors.cli.run import run_node

    return run_node(
        {
            "plugins": plugins,
            "bind": bind,
            "database_url": database_url,
            "http": http,
            "config": config,
            "data": data,
        }
    )


@app.command
def new(
    name: str,
    /,
    *,
    dir: Annotated[Path, Parameter(help="The folder of plugin folders to make it in.")] = Path(
        "plugins"
    ),
) -> int:
    """Make a plugin that runs and whose tests pass.

    Parameters
    ----------
    name
        Lower-case letters and digits, words joined by hyphens: my-first-plugin.
    """
    with importing():
        from nexus_actors.cli.new import make_plugin

    return make_plugin(name, dir)


@app.command
def check(*dirs: Path, config: _Config = None) -> int:
    """Name every fault of every plugin, with place and fix.

    Parameters
    ----------
    dirs
        Folders of plugin folders, or plugin folders. Without any: what nexus run would load.
    """
    with importing():
        from nexus_actors.cli.check import check_plugins

    return check_plugins(dirs, config)


@app.command
def why(
    name: str,
    /,
    *,
    json: Annotated[bool, Parameter(help="As JSON, for programs.", negative=())] = False,
    config: _Config = None,
    data: _Data = None,
) -> int:
    """Tell why a plugin of the running node is as it is, and what happened to it.

    Parameters
    ----------
    name
        The plugin.
    """
    from nexus_actors.cli.why import explain_plugin

    return explain_plugin(name, {"config": config, "data": data}, as_json=json)


@app.command
def plugins(
    *,
    json: Annotated[bool, Parameter(help="As JSON, for programs.", negative=())] = False,
    config: _Config = None,
    data: _Data = None,
) -> int:
    """Show the plugins of the node that runs on this data folder."""
    with importing():
        from nexus_actors.cli.plugins import show_plugins

    return show_plugins({"config": config, "data": data}, as_json=json)


_letters = App(
    name="dead-letters",
    help="Show, send again or throw away the messages that nobody handled.",
)
app.command(_letters)

_Json = Annotated[bool, Parameter(help="As JSON, for programs.", negative=())]
_Plugin = Annotated[str | None, Parameter(help="Those for this plugin alone.")]
_Every = Annotated[bool, Parameter(name="--all", help="All there are.", negative=())]


@_letters.default
@_letters.command(name="list")
def dead_letters_list(
    *,
    plugin: _Plugin = None,
    json: _Json = False,
    config: _Config = None,
    data: _Data = None,
) -> int:
    """List the dead letters of the running node, oldest first."""
    from nexus_actors.cli.dead_letters import list_letters

    return list_letters({"config": config, "data": data}, plugin, as_json=json)


@_letters.command(name="show")
def dead_letters_show(
    number: int, /, *, json: _Json = False, config: _Config = None, data: _Data = None
) -> int:
    """Show one: what it carries, why nobody handled it, and what it was before.

    Parameters
    ----------
    number
        The letter's number, as the list has it.
    """
    from nexus_actors.cli.dead_letters import show_letter

    return show_letter({"config": config, "data": data}, number, as_json=json)


@_letters.command(name="retry")
def dead_letters_retry(
    *numbers: int,
    plugin: _Plugin = None,
    every: _Every = False,
    force: Annotated[
        bool, Parameter(help="Also those in quarantine: they crashed when retried.", negative=())
    ] = False,
    config: _Config = None,
    data: _Data = None,
) -> int:
    """Send letters again, each as a new message; one that is not accepted stays.

    Parameters
    ----------
    numbers
        The letters' numbers.
    """
    from nexus_actors.cli.dead_letters import change_letters

    flags = {"config": config, "data": data}
    return change_letters(flags, "retry", numbers, plugin, every, force=force)


@_letters.command(name="discard")
def dead_letters_discard(
    *numbers: int,
    plugin: _Plugin = None,
    every: _Every = False,
    config: _Config = None,
    data: _Data = None,
) -> int:
    """Throw letters away for good.

    Parameters
    ----------
    numbers
        The letters' numbers.
    """
    from nexus_actors.cli.dead_letters import change_letters

    return change_letters({"config": config, "data": data}, "discard", numbers, plugin, every)
