"""How many files and connections this process may hold open: a limit of the system."""

from __future__ import annotations

import sys


def allow(wanted: int) -> int:
    """Raise the limit of this process to `wanted`, as far as it may be; return what it is then.

    Many systems start a process with 1,024, and let it have more for the asking.
    """
    if sys.platform == "win32":  # it has no such limit on connections
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):  # macOS says "unlimited", and has a limit of its own
            return soft
    return allowed
