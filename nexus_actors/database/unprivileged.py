"""The system user that PostgreSQL runs as when the node is root, which PostgreSQL refuses to be.

As anybody else the node runs PostgreSQL as itself, and this file has nothing to do.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import attrs

__all__ = ["SystemUser", "hand_over", "let_through", "system_user"]

logger = logging.getLogger("nexus.database")

NAME = "nexus-postgres"


@attrs.frozen
class SystemUser:
    """Whom a child process runs as."""

    name: str
    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """What :class:`subprocess.Popen` needs to start a process as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def system_user() -> SystemUser | None:
    """None unless this process is root; then the user for PostgreSQL, made when it is not there.

    ``nexus-postgres`` where users can be added, else ``nobody`` (which owns nothing else either).

    Raises:
        OSError: root, and no user to be found.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    for name in (NAME, None, "nobody"):
        if name is None:
            _add_user()
            name = NAME
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise OSError(
        "PostgreSQL refuses to run as root and there is no other user: add one called "
        f"{NAME!r}, or run the node as an ordinary user"
    )


def _add_user() -> None:
    """Add the user where the system has a tool for it; the caller looks whether it worked."""
    tool = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        return
    done = subprocess.run(
        [tool, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        logger.info("added the system user %s, whom PostgreSQL runs as under root", NAME)


def hand_over(folder: Path, user: SystemUser | None) -> None:
    """Make ``folder`` the user's own, for no one else to look into."""
    folder.chmod(0o700)
    if user is not None:
        os.chown(folder, user.uid, user.gid)


def let_through(folder: Path, user: SystemUser | None) -> None:
    """See to it that the user can pass every folder above ``folder`` (search, not list).

    A project under ``/root`` could not run otherwise. The permission is given to this one user by
    an access control list; where the file system has none, search permission is given to all, and
    said.
    """
    if user is None:
        return
    for above in folder.resolve().parents:
        mode = above.stat()
        if (
            mode.st_mode & stat.S_IXOTH
            or (mode.st_uid == user.uid and mode.st_mode & stat.S_IXUSR)
            or (mode.st_gid == user.gid and mode.st_mode & stat.S_IXGRP)
        ):
            continue
        if _allow_search(above, user.uid):
            logger.info("let %s pass through %s (access control list)", user.name, above)
        else:
            above.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)
            logger.warning("let everybody pass through %s, so that %s can", above, user.name)


_ACL = "system.posix_acl_access"
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF


def _allow_search(folder: Path, uid: int) -> bool:
    """Add ``user:<uid>:--x`` to the folder's access control list; False where it has none.

    The mask is made anew each time: a ``chmod`` of the folder narrows it, and with it the entry.
    The binary form is the kernel's own (linux/posix_acl_xattr.h): a version, then (tag, permission,
    id).
    """
    if not hasattr(os, "setxattr"):
        return False
    mode = folder.stat().st_mode
    try:
        raw = os.getxattr(folder, _ACL)
        entries = list(struct.iter_unpack("<HHI", raw[4:]))
    except OSError:
        entries = [
            (_USER_OBJ, mode >> 6 & 7, _NOBODY),
            (_GROUP_OBJ, mode >> 3 & 7, _NOBODY),
            (_OTHER, mode & 7, _NOBODY),
        ]
    entries = [e for e in entries if not (e[0] == _USER and e[2] == uid) and e[0] != _MASK]
    entries.append((_USER, 1, uid))
    mask = 0
    for tag, allowed, _ in entries:
        if tag in (_USER, _GROUP_OBJ, _GROUP):
            mask |= allowed
    entries.append((_MASK, mask, _NOBODY))
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    try:
        os.setxattr(
            folder,
            _ACL,
            struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries),
        )
    except OSError:
        return False
    return True
