"""Exporting: what a target gets of an account's documents, in which order, and what it keeps.

Roots come before configs, so that a config is never there without its root. What is there already
is judged by the rules of trust: a newer config stays, whoever put it there. Of overrides the
database knows all: what it says is put there, by every server that has heard of a change.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from livepin.bootstrap import Bootstrap
from livepin.documents import config, override, root
from livepin.errors import MalformedError, RollbackError, VerificationError
from livepin.jose import parse_compact
from livepin.trust import TrustedState

from livepin_server.errors import ExportError

from .documents import (
    Documents,
    StaticFile,
    config_file,
    override_file,
    override_path,
    root_file,
    root_path,
)
from .target import ChangedError, Held, Target

_TRIES = 5  # of a file that another process writes too


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done, by path. `newer` stayed as it was; `strange` was none of ours before.

    `removed` are overrides that are over, `left` those that could not be removed.
    """

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def export(documents: Documents, target: Target) -> Outcome:
    """Bring the documents of an account to a target.

    Raises:
        ExportError: it cannot be read or written; what was written until then stays.
    """
    outcome = Outcome()
    with target.working():
        for version in sorted(documents.roots):
            file = root_file(documents.account, version, documents.roots[version])
            _bring(file, target, outcome, root.MAX_SIZE, documents)
        for stream in sorted(documents.configs):
            file = config_file(documents.account, stream, documents.configs[stream])
            _bring(file, target, outcome, config.MAX_SIZE, documents, stream)
        for thumbprint in sorted(documents.overrides):
            file = override_file(documents.account, thumbprint, documents.overrides[thumbprint])
            _bring(file, target, outcome, override.MAX_SIZE, documents, followed=True)
        for thumbprint in sorted(documents.gone):
            _remove(override_path(documents.account, thumbprint), target, outcome)
    return outcome


def _remove(path: str, target: Target, outcome: Outcome) -> None:
    """Remove an override that is over. It does no harm where it stays: apps take it no more."""
    if target.read(path, limit=0) is None:
        return
    try:
        target.remove(path)
    except ExportError:
        outcome.left.append(path)
    else:
        outcome.removed.append(path)


def _bring(
    file: StaticFile,
    target: Target,
    outcome: Outcome,
    limit: int,
    documents: Documents,
    stream: str | None = None,
    *,
    followed: bool = False,
) -> None:
    """Bring a file to a target; `followed` says that an older one of ours may be there."""
    for _ in range(_TRIES):
        held = target.read(file.path, limit=limit)
        strange = False
        if held is not None:
            if held.body == file.body:
                outcome.unchanged.append(file.path)
                return
            strange = stream is None and not followed
            if stream is not None:
                try:
                    if _is_newer(held, documents, stream, target):
                        outcome.newer.append(file.path)
                        return
                except VerificationError:
                    strange = True
        try:
            target.write(file, over=held)
        except ChangedError:
            continue
        outcome.written.append(file.path)
        if strange:
            outcome.strange.append(file.path)
        return
    raise ExportError(f"others keep writing {file.path} in {target.name}", hint="try again later")


def _is_newer(held: Held, documents: Documents, stream: str, target: Target) -> bool:
    """Tell whether the config that is there is newer than ours, under the same trust.

    Another server may have a newer root than we know yet; then it has put that there before.

    Raises:
        VerificationError: it is no config of this stream that clients would take.
    """
    state = _state(documents, stream)
    if root_named(held.body) < state.root.version:
        return False
    for version in state.missing_roots(held.body):
        raw = documents.roots.get(version)
        if raw is None:
            found = target.read(root_path(documents.account, version), limit=root.MAX_SIZE)
            raw = b"" if found is None else found.body
        state = state.advance_root(raw)
    before = state.order
    try:
        return state.advance_config(held.body).order > before
    except RollbackError:
        return False


def _state(documents: Documents, stream: str) -> TrustedState:
    """Return the trust that our own documents of a stream give."""
    raw = documents.configs[stream]
    return TrustedState.from_bootstrap(Bootstrap(root=documents.roots[root_named(raw)], config=raw))


def root_named(raw: bytes) -> int:
    """Return the version of the root that a config says it is under; nothing vouches for it.

    Raises:
        VerificationError: it is no config at all.
    """
    try:
        return config.Config.root_named(parse_compact(raw, typ=config.TYP).payload)
    except MalformedError as exc:
        raise VerificationError(2, str(exc)) from exc
