"""What a ``postmaster.pid`` file says, and what to do about it before PostgreSQL is started again.

PostgreSQL writes its process id into ``postmaster.pid`` and, at the next start, believes that it
still runs while any process has that id. Three times that is wrong: the process is a zombie nobody
reaped, it is another program that got the same id (usual after a container's restart), or it is the
server a killed node left behind. The first two would keep PostgreSQL from starting for ever.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import attrs
import psutil  # type: ignore[import-untyped]

__all__ = ["PidFile", "Verdict", "disown", "look", "read_pid_file"]

Verdict = Literal["absent", "stale", "mistaken", "running"]
"""absent: no file. stale: no such process; PostgreSQL sees that itself. mistaken: a process with
that id, but not our server (a zombie, or another program). running: a server of this folder."""

_NO_PROCESS = 4_194_305  # one above the highest process id Linux can have (2**22)


@attrs.frozen
class PidFile:
    """The lines of ``postmaster.pid`` that matter here."""

    pid: int
    socket_folder: str


def read_pid_file(data: Path) -> PidFile | None:
    """The file of the data folder ``data``, or None when there is none or it is not yet whole."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return PidFile(abs(int(lines[0])), lines[4].strip() if len(lines) > 4 else "")
    except (FileNotFoundError, ValueError, IndexError):
        return None


def look(data: Path) -> tuple[Verdict, PidFile | None]:
    """Whether the process that the file names is a live server of the data folder ``data``."""
    found = read_pid_file(data)
    if found is None:
        return "absent", None
    try:
        process = psutil.Process(found.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return "mistaken", found
        # the server's working directory is its data folder
        ours = os.path.realpath(process.cwd()) == os.path.realpath(data)
    except psutil.NoSuchProcess:  # ZombieProcess is one of these on some systems
        return ("mistaken" if psutil.pid_exists(found.pid) else "stale"), found
    except psutil.AccessDenied:
        # root without CAP_SYS_PTRACE, as in most containers, may read the command line but no more
        ours = _started_for(found.pid, data)
    return ("running" if ours else "mistaken"), found


def _started_for(pid: int, data: Path) -> bool:
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return bool(command) and "postgres" in command[0] and str(data.resolve()) in command


def disown(data: Path) -> None:
    """Put an id that no process can have into the file, in place of the mistaken one.

    The file itself stays: its line on shared memory lets PostgreSQL notice worker processes of the
    dead server that still write to the data, and refuse until they have gone. Without the file it
    would start beside them and spoil the data.
    """
    file = data / "postmaster.pid"
    lines = file.read_text().splitlines(keepends=True)
    owner = file.stat()
    new = file.with_name("postmaster.pid.new")
    new.write_text("".join([f"{_NO_PROCESS}\n", *lines[1:]]))
    os.chown(new, owner.st_uid, owner.st_gid)
    new.chmod(0o600)
    new.rename(file)
