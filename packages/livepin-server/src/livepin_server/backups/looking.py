"""What is out there of a lost server that its backup does not know: newer configs, newer roots.

Everything found is judged by the rules of trust, from the backup's own documents on. What they
refuse is reported, and counts for nothing: anybody may have put it there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from livepin.bootstrap import Bootstrap
from livepin.documents import Config, config, root
from livepin.errors import LivepinError, VerificationError
from livepin.pins import Pin, fingerprint_text
from livepin.trust import MAX_ROOT_STEPS, TrustedState

from livepin_server.errors import BackupError
from livepin_server.exports.static.documents import Documents, config_path, root_path
from livepin_server.exports.static.export import root_named

from .sources import Source, SourceError

TIME = 60.0  # seconds for everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """A config that clients would take after that of the backup. `before` is the backup's."""

    where: str
    config: Config
    before: Config
    raw: bytes = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Sightings:
    """What was found of an account.

    `roots` are those after the backup's newest; `newer` holds the newest config of each stream,
    `issued` the latest time of issue; `said` is what there is to tell of each place.
    """

    roots: dict[int, bytes] = field(default_factory=dict)
    newer: dict[str, Newer] = field(default_factory=dict)
    issued: datetime | None = None
    alive: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def check(documents: Documents) -> None:
    """Require that clients would take these documents.

    Raises:
        BackupError: they would not.
    """
    try:
        newest = max(documents.roots)
        min(documents.configs)  # there is one
        for stream in documents.configs:
            _Trust(documents, stream).under(newest)
    except (VerificationError, LookupError, ValueError) as exc:
        raise BackupError(
            f"the documents of {documents.account} in it are not sound: {exc}",
            hint="take another backup",
        ) from exc


def look(documents: Documents, sources: Sequence[Source], *, seconds: float = TIME) -> Sightings:
    """Look at every source, for at most so long."""
    return _Look(documents, time.monotonic() + seconds).at(sources)


class _Trust:
    """The trust that the documents of a stream give, under each root from its config's on."""

    def __init__(self, documents: Documents, stream: str) -> None:
        raw = documents.configs[stream]
        first = root_named(raw)
        start = Bootstrap(root=documents.roots[first], config=raw)
        self._states = {first: TrustedState.from_bootstrap(start)}
        self._roots = dict(documents.roots)

    def add(self, version: int, raw: bytes) -> None:
        self._roots[version] = raw

    def under(self, version: int) -> TrustedState:
        """Return the state of a client that has the roots up to this one."""
        if version not in self._states:
            before = self.under(version - 1)
            self._states[version] = before.advance_root(self._roots[version])
        return self._states[version]


class _Look:
    def __init__(self, documents: Documents, until: float) -> None:
        self._documents = documents
        self._until = until
        self._trust = {stream: _Trust(documents, stream) for stream in sorted(documents.configs)}
        self._newest = max(documents.roots)
        self._found = Sightings()
        self._silent: set[str] = set()

    def at(self, sources: Sequence[Source]) -> Sightings:
        steps = -1
        while steps < len(self._found.roots):  # one place may have the root after another's
            steps = len(self._found.roots)
            for each in sources:
                self._roots_at(each)
        for each in sources:
            for stream in self._trust:
                self._config_at(each, stream)
            if each.live and each.name not in self._silent:
                self._found.alive.append(each.name)
        return self._found

    def _roots_at(self, source: Source) -> None:
        for _ in range(MAX_ROOT_STEPS):
            version = self._newest + 1
            raw = self._read(source, root_path(self._documents.account, version), root.MAX_SIZE)
            if raw is None:
                return
            try:
                for trust in self._trust.values():
                    trust.add(version, raw)
                    state = trust.under(version)
            except VerificationError as exc:
                self._refused(source, f"root {version}", exc)
                return
            self._newest = version
            self._found.roots[version] = raw
            self._saw(state.root.issued)
            self._found.said.append(f"{source.name}: root {version} is newer than the backup")

    def _config_at(self, source: Source, stream: str) -> None:
        path = config_path(self._documents.account, stream)
        raw = self._read(source, path, config.MAX_SIZE)
        if raw is None:
            return
        trust = self._trust[stream]
        try:
            first = trust.under(root_named(self._documents.configs[stream]))
            named = root_named(raw)
            if named < first.root.version:
                return  # it is older
            if named > self._newest:
                raise VerificationError(6, f"root {named}, which it names, is not there")
            state = trust.under(named).advance_config(raw)
        except VerificationError as exc:
            if exc.rule != 7 or "other content" in exc.reason:  # what is older needs no word
                self._refused(source, f"the config of {stream}", exc)
            return
        self._saw(state.config.issued)
        known = self._found.newer.get(stream)
        newest = first.order if known is None else _order(known.config)
        if state.order > newest:
            self._found.newer[stream] = Newer(
                where=source.name, config=state.config, before=first.config, raw=raw
            )

    def _read(self, source: Source, path: str, limit: int) -> bytes | None:
        """Return what is there; who did not answer once is not asked again."""
        if source.name in self._silent:
            return None
        try:
            if time.monotonic() > self._until:
                raise SourceError("there was no time left to look")
            return source.read(path, limit=limit, until=self._until)
        except SourceError as exc:
            self._silent.add(source.name)
            self._found.said.append(f"{source.name}: {exc}")
            return None

    def _refused(self, source: Source, what: str, exc: LivepinError) -> None:
        text = f"{source.name}: {what} is refused, and counts for nothing: {exc}"
        if text not in self._found.said:
            self._found.said.append(text)

    def _saw(self, issued: datetime) -> None:
        self._found.issued = max(issued, self._found.issued or issued)


def lines(newer: Newer) -> Iterator[str]:
    """Say what a config holds that the backup's does not."""
    was = {each.pattern: each for each in newer.before.domains}
    now = {each.pattern: each for each in newer.config.domains}
    for pattern in sorted({*was, *now}):
        if pattern not in was:
            yield f"+ domain {pattern}"
        elif pattern not in now:
            yield f"- domain {pattern}"
        else:
            old, new = was[pattern], now[pattern]
            if old.mode != new.mode:
                yield f"* {pattern}: mode {new.mode.value}, was {old.mode.value}"
            before, after = set(old.pins.pins), set(new.pins.pins)
            yield from (f"+ pin {pattern} {each}" for each in _texts(after - before))
            yield from (f"- pin {pattern} {each}" for each in _texts(before - after))
    if newer.config.delivery != newer.before.delivery:
        yield f"* delivery is {', '.join(newer.config.delivery.urls)}"


def _texts(pins: set[Pin]) -> list[str]:
    return sorted(fingerprint_text(each.sha256) for each in pins if each.sha256 is not None)


def _order(found: Config) -> tuple[int, int]:
    return found.root_version, found.version
