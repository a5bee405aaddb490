"""An old config's content, published again as a new version."""

from __future__ import annotations

from typing import Any, ClassVar

from livepin.documents import Config, Domain, config
from livepin.jose import parse_compact
from livepin.pins import PREFIX, PinSet, fingerprint_text
from sqlalchemy import delete, insert, select

from livepin_server.errors import ConflictError, NotFoundError
from livepin_server.services import rows
from livepin_server.services.audit import Action
from livepin_server.services.model import NewPin
from livepin_server.services.naming import is_shared
from livepin_server.storage.schema import configs, domains, pin_sets, pins

from .change import Applying, Change

_LABEL = "restored from version {}"
_SETTINGS = ("pin_set", "mode", "token", "stale")
_Limited = tuple[str, Any, Any]  # a pin as a config says it


class RestoreConfig(Change, frozen=True, kw_only=True, tag="restore-config"):
    """Have the domains and pins of a stream as an older version of it says.

    Where its documents are delivered stays as it is, for the old delivery keys may be gone; so do
    shared pin sets that no domain followed then. What a config does not tell of pins and domains
    (labels, backup marks, where to look at them) stays for those that are there.

    Raises, when applied:
        NotFoundError: no such version of the stream. ConflictError: all of it is so already.
    """

    action: ClassVar[Action] = "config.restore"
    version: int
    stream: str = "main"

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Replace the rows."""
        at.require_stream(self.stream)
        wanted = self._document(at)
        came = {each.pattern: each for each in wanted.domains}
        held = {each.pattern: each for each in self._domains(at)}
        changed = [self._put_set(at, name, each) for name, each in wanted.pin_sets.items()]
        changed += [self._put(at, each, held.get(name)) for name, each in came.items()]
        for name in held.keys() - came.keys():
            rows.remove_domain(at.connection, held[name])
            changed.append(True)
        if not any(changed):
            raise ConflictError(f"{self.stream} is as in version {self.version} already")
        self._remove_forsaken(at)
        return {self.stream: [f"* domains and pins as in version {self.version}"]}

    def _document(self, at: Applying) -> Config:
        found = at.connection.execute(
            select(configs.c.document).where(
                *rows.of(configs, at.account, self.stream), configs.c.version == self.version
            )
        ).first()
        if found is None:
            raise NotFoundError(
                f"there is no config version {self.version} in {at.account}/{self.stream}",
                hint="livepin config log shows which there are",
            )
        return Config.parse(parse_compact(found.document, typ=config.TYP).payload)

    def _domains(self, at: Applying) -> list[Any]:
        place = rows.of(domains, at.account, self.stream)
        return list(at.connection.execute(select(domains).where(*place)))

    def _put(self, at: Applying, wanted: Domain, held: Any) -> bool:
        """Have a domain as it was; tell whether that changed it."""
        members = {
            "pin_set": wanted.pin_set,
            "mode": wanted.mode.value,
            "token": wanted.token,
            "stale": wanted.stale.value,
        }
        if held is not None and all(getattr(held, each) == members[each] for each in _SETTINGS):
            return False
        place = rows.of(domains, at.account, self.stream)
        at.connection.execute(delete(domains).where(*place, domains.c.pattern == wanted.pattern))
        key = {"account": at.account, "stream": self.stream, "pattern": wanted.pattern}
        kept = {"connect": None, "ca": None, "created": at.now}
        if held is not None:
            kept = {"connect": held.connect, "ca": held.ca, "created": held.created}
        at.connection.execute(insert(domains).values(**key, **members, **kept))
        return True

    def _put_set(self, at: Applying, name: str, wanted: PinSet) -> bool:
        """Have a pin set as it was; tell whether that changed it."""
        key = {"account": at.account, "stream": self.stream}
        place = (*rows.of(pin_sets, at.account, self.stream), pin_sets.c.name == name)
        if at.connection.execute(select(pin_sets).where(*place)).first() is None:
            at.connection.execute(insert(pin_sets).values(**key, name=name))
        of_set = rows.in_set(at.account, self.stream, name)
        held = {
            (row.sha256, row.not_before, row.not_after): row.id
            for row in at.connection.execute(select(pins).where(*of_set))
        }
        to_be = _said(wanted)
        gone = [each for pin, each in held.items() if pin not in to_be]
        at.connection.execute(delete(pins).where(pins.c.id.in_(gone)))
        come = [
            NewPin(
                sha256=f"{PREFIX}{digest}",
                label=_LABEL.format(self.version),
                not_before=start,
                not_after=end,
            )
            for digest, start, end in to_be
            if (digest, start, end) not in held
        ]
        if come:
            rows.insert_pins(at.connection, key, name, come, at.author, at.now)
        return bool(gone or come)

    def _remove_forsaken(self, at: Applying) -> None:
        """Delete the sets that were a domain's own, and are no more."""
        followed = rows.followers(at.connection, at.account, self.stream)
        place = rows.of(pin_sets, at.account, self.stream)
        for name in at.connection.scalars(select(pin_sets.c.name).where(*place)).all():
            if not is_shared(name) and name not in followed:
                rows.remove_set(at.connection, at.account, self.stream, name)


def _said(wanted: PinSet) -> list[_Limited]:
    return [
        (fingerprint_text(pin.sha256).removeprefix(PREFIX), pin.not_before, pin.not_after)
        for pin in wanted.pins
        if pin.sha256 is not None
    ]
