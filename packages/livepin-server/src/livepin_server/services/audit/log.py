"""`Audit`: the log in the database. Entries come in with the change that they tell of, or not."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timezone

from livepin.errors import MalformedError
from msgspec import Struct, structs
from sqlalchemy import Connection, func, insert, select

from livepin_server.errors import NotFoundError
from livepin_server.services.nearest import not_found
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, audit, configs, roots

from .chain import FIRST, digest, line, text
from .entry import SERVER, Entry, decode, encode
from .seals import head_of

_MOST_BYTES = 4 * 1024 * 1024  # of what is given out at a time
_MOST_LOOKED_AT = 20_000  # entries, in one search
_AT_A_TIME = 500  # rows from the database
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


class Logged(Struct, frozen=True, kw_only=True):
    """An entry with its place in the log."""

    number: int
    digest: str
    entry: Entry


class LogPage(Struct, frozen=True, kw_only=True):
    """Entries, the newest first; `before` says where to go on looking, None at the end."""

    items: list[Logged]
    before: int | None


class SignedConfig(Struct, frozen=True, kw_only=True):
    """A config as it was published."""

    stream: str
    version: int
    document: str


class Signed(Struct, frozen=True, kw_only=True):
    """What was signed for an account: roots, only with the first configs, and configs in order."""

    roots: list[str]
    configs: list[SignedConfig]


class Wanted(Struct, frozen=True, kw_only=True):
    """Which entries are wanted: by how their action begins, their author, from a moment on."""

    action: str = ""
    author: str | None = None
    since: datetime | None = None

    def fits(self, entry: Entry) -> bool:
        """Tell whether an entry is wanted, but for its moment."""
        return entry.action.startswith(self.action) and self.author in (None, entry.author)


class Audit:
    """Appends entries to the log, and gives them out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, connection: Connection, entry: Entry) -> bytes:
        """Append an entry within the caller's write transaction; return the new head, 32 bytes."""
        if entry.account != SERVER:
            entries, of_server = _newest(connection, SERVER)
            entry = structs.replace(entry, server=text(of_server) if entries else None)
        number, before = _newest(connection, entry.account)
        data = encode(entry)
        head = digest(before, data)
        row = {"account": entry.account, "number": number + 1, "entry": data, "digest": head}
        connection.execute(insert(audit).values(**row))
        return head

    def record(self, entry: Entry) -> None:
        """Append an entry by itself: for what is done outside of the database.

        Raises:
            NotFoundError: no such account.
        """

        def transaction(connection: Connection) -> bytes:
            _require(connection, entry.account)
            return self.append(connection, entry)

        self._database.write(transaction)

    def log(
        self, account: str, wanted: Wanted, *, limit: int = 50, before: int | None = None
    ) -> LogPage:
        """Return entries that are wanted, the newest first, from below the number `before`.

        It looks at a bounded number of entries: a page may be short, and even empty.
        """
        found: list[Logged] = []
        query = select(audit).where(audit.c.account == account).order_by(audit.c.number.desc())
        if before is not None:
            query = query.where(audit.c.number < before)
        with self._database.reading() as connection:
            _require(connection, account)
            first = _first_since(connection, account, wanted.since)
            number = first
            rows = connection.execution_options(yield_per=min(limit, _AT_A_TIME)).execute(
                query.where(audit.c.number >= first).limit(_MOST_LOOKED_AT)
            )
            for row in rows:
                number, entry = row.number, decode(row.entry)
                if wanted.fits(entry):
                    found.append(Logged(number=number, digest=text(row.digest), entry=entry))
                if len(found) == limit:
                    break
            rows.close()
        return LogPage(items=found, before=number if number > first else None)

    def export(self, account: str, *, after: int = 0, since: datetime | None = None) -> bytes:
        """Return the lines of the entries after a number, as many as may be given out at a time.

        Raises:
            NotFoundError: no such account, or the log ends before that number.
        """
        with self._database.reading() as connection:
            _require(connection, account)
            after = max(after, _first_since(connection, account, since) - 1)
            if after > (newest := _newest(connection, account)[0]):
                raise NotFoundError(
                    f"there is no entry {after}: the log ends at entry {newest}",
                    hint="entries were cut off, or this is another server: livepin audit verify",
                )
            previous = _digest_of(connection, account, after)
            rows = connection.execution_options(yield_per=_AT_A_TIME).execute(
                select(audit)
                .where(audit.c.account == account, audit.c.number > after)
                .order_by(audit.c.number)
            )
            lines, size = [], 0
            for row in rows:
                lines.append(line(row.number, previous, row.digest, row.entry))
                previous, size = row.digest, size + len(lines[-1])
                if size > _MOST_BYTES:
                    break
            rows.close()
        return b"".join(lines)

    def signed(self, account: str, *, after: int = 0) -> Signed:
        """Return what was signed for an account, from the config after a version on."""
        of_account = configs.c.account == account, configs.c.version > after
        sizes = select(configs.c.version, func.length(configs.c.document).label("size"))
        documents = select(configs.c.stream, configs.c.version, configs.c.document)
        of_roots = select(roots.c.document).where(roots.c.account == account)
        with self._database.reading() as connection:
            _require(connection, account)
            last, room = after, _MOST_BYTES
            listed = sizes.where(*of_account).order_by(configs.c.version).limit(_AT_A_TIME)
            for row in connection.execute(listed).all():
                room -= row.size
                if room < 0 and last != after:
                    break
                last = row.version
            chosen = documents.where(*of_account, configs.c.version <= last)
            rows = connection.execute(chosen.order_by(configs.c.version)).all()
            found = [] if after else connection.scalars(of_roots.order_by(roots.c.version)).all()
        return Signed(
            roots=[each.decode("ascii", "replace") for each in found],
            configs=[
                SignedConfig(
                    stream=row.stream,
                    version=row.version,
                    document=row.document.decode("ascii", "replace"),
                )
                for row in rows
            ],
        )

    def warnings(self, only: str | None = None) -> list[str]:
        """Return what a look at the newest config of each account says of its log.

        `only` limits it to one account.
        """
        with self._database.reading() as connection:
            names = connection.scalars(select(accounts.c.name).where(accounts.c.active)).all()
            return [
                f"the newest config of {name} carries a head that its audit log does not have: "
                "livepin audit verify says more"
                for name in names
                if only in (None, name) and not _has_head(connection, name)
            ]


def _newest(connection: Connection, account: str) -> tuple[int, bytes]:
    """Return number and digest of the newest entry."""
    of_account = select(audit.c.number, audit.c.digest).where(audit.c.account == account)
    row = connection.execute(of_account.order_by(audit.c.number.desc()).limit(1)).first()
    return (0, FIRST) if row is None else (row.number, row.digest)


def _digest_of(connection: Connection, account: str, number: int) -> bytes:
    place = audit.c.account == account, audit.c.number == number
    found: bytes | None = connection.scalar(select(audit.c.digest).where(*place))
    return FIRST if found is None else found


def _first_since(connection: Connection, account: str, since: datetime | None) -> int:
    """Return the number of the first entry from a moment on, by the clock that stamped them."""
    if since is None:
        return 1

    def moment(number: int) -> datetime:
        place = audit.c.account == account, audit.c.number == number
        found = connection.scalar(select(audit.c.entry).where(*place))
        return _LONG_AGO if found is None else decode(found).moment

    newest, _ = _newest(connection, account)
    return bisect_left(range(1, newest + 1), since, key=moment) + 1


def _has_head(connection: Connection, account: str) -> bool:
    """Tell whether the head in the newest config is in the log; also where a config has none."""
    of_account = select(configs.c.document).where(configs.c.account == account)
    raw = connection.scalar(of_account.order_by(configs.c.version.desc()).limit(1))
    if raw is None:
        return True
    try:
        head = head_of(raw)
    except MalformedError:
        return False
    place = audit.c.account == account, audit.c.digest == head
    return head is None or connection.scalar(select(audit.c.number).where(*place)) is not None


def _require(connection: Connection, account: str) -> None:
    """Refuse an account that there is not."""
    known = connection.scalars(select(accounts.c.name).where(accounts.c.active)).all()
    if account not in (SERVER, *known):
        raise not_found("account", account, known)
