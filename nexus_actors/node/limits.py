"""The process's own limits: enough open files for the connections that the settings allow."""

from __future__ import annotations

import resource

__all__ = ["allow_open_files"]

SPARE = 512
"""Open files beside the front end's connections: the database's, plugins', the process's own."""


def allow_open_files(connections: int) -> int:
    """Raise the process's soft limit on open files, as far as the hard one lets it, so that
    ``connections`` fit; return the limit as it then is. Never lowers it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if limit > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(soft, limit)
