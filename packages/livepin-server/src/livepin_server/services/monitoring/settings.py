"""`MonitoringSettings`: how each domain is monitored, where that is not as any other is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from livepin.errors import MalformedError
from livepin.hostnames import normalise, pattern_covers
from msgspec import structs, to_builtins
from sqlalchemy import Connection, delete, insert, select

from livepin_server.errors import InvalidError
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.changes.domains import canonical
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import domains, monitor_settings

from .model import MonitorChange, MonitorSettings

HTTPS = 443
_row = monitor_settings.c
_settings_of = msgspec.json.Decoder(MonitorSettings)


class MonitoringSettings:
    """Shows and changes how domains are monitored.

    `changed` is called with the account after a change: what is looked at follows at once.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        changed: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed
        self._audit = Audit(database)

    def all(self, account: str) -> dict[str, MonitorSettings]:
        """Return the settings of the domains that have any, by pattern."""
        with self._database.reading() as connection:
            require_account(connection, account)
            return read(connection, account)

    def change(
        self, account: str, pattern: str, change: MonitorChange, intent: Intent
    ) -> MonitorSettings:
        """Change how a domain is monitored, in all streams that have it.

        Raises:
            NotFoundError: no stream has it. InvalidError: a host that it does not cover.
        """
        pattern = canonical(pattern)

        def transaction(connection: Connection) -> MonitorSettings:
            require_account(connection, account)
            _require_domain(connection, account, pattern)
            before = read(connection, account).get(pattern, MonitorSettings())
            after = _over(before, change, pattern)
            row = {"account": account, "pattern": pattern}
            connection.execute(
                delete(monitor_settings).where(*(_row[name] == row[name] for name in row))
            )
            text = msgspec.json.encode(after).decode()
            connection.execute(insert(monitor_settings).values(**row, settings=text))
            entry = entry_of(
                intent,
                account=account,
                action="monitor.set",
                now=self._clock(),
                target=pattern,
                before=to_builtins(before),
                after=to_builtins(after),
            )
            self._audit.append(connection, entry)
            return after

        after = self._database.write(transaction)
        self._changed(account)
        return after


def read(connection: Connection, account: str) -> dict[str, MonitorSettings]:
    """Return the settings of the domains of an account that have any, by pattern."""
    found = connection.execute(
        select(_row.pattern, _row.settings).where(_row.account == account).order_by(_row.pattern)
    )
    return {row.pattern: _settings_of.decode(row.settings) for row in found}


def place_of(text: str) -> tuple[str, int]:
    """Return host and port of HOST or HOST:PORT; an IPv6 address with a port is in brackets.

    Raises:
        InvalidError: neither.
    """
    host, port = text, HTTPS
    name, colon, number = text.rpartition(":")
    if colon and (":" not in name or (name.startswith("[") and name.endswith("]"))):
        host, port = name, int(number) if number.isascii() and number.isdecimal() else 0
    try:
        if not 1 <= port <= 65535:
            raise MalformedError(f"expected a port from 1 to 65535, found {number[:80]!r}")
        return normalise(host), port
    except MalformedError as exc:
        raise InvalidError(
            f"expected HOST or HOST:PORT, found {text[:80]!r}", hint=str(exc)
        ) from exc


def _over(before: MonitorSettings, change: MonitorChange, pattern: str) -> MonitorSettings:
    """Return `before` with what is said, each host in its one form and once."""
    said = {name: getattr(change, name) for name in MonitorChange.__struct_fields__}
    after = structs.replace(before, **{name: v for name, v in said.items() if v is not None})
    hosts = dict.fromkeys(_covered(each, pattern) for each in after.hosts)
    return structs.replace(after, hosts=[*hosts], tags=[*dict.fromkeys(after.tags)])


def _covered(text: str, pattern: str) -> str:
    # Else whoever may change a domain could have this server look at any other host.
    host, port = place_of(text)
    if not pattern_covers(pattern, host):
        raise InvalidError(
            f"expected hosts that {pattern} covers, found {host}",
            hint="add that host as a domain of its own: livepin domain add",
        )
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _require_domain(connection: Connection, account: str, pattern: str) -> None:
    known = set(connection.scalars(select(domains.c.pattern).where(domains.c.account == account)))
    if pattern not in known:
        raise not_found("domain", pattern, known)
