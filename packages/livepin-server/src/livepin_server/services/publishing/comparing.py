"""Two published versions of a stream, side by side."""

from __future__ import annotations

from typing import Any

from livepin.documents import Config
from livepin.documents.config import TYP
from livepin.jose import parse_compact
from msgspec import Struct
from sqlalchemy import select

from livepin_server.errors import NotFoundError
from livepin_server.services.model import Publication
from livepin_server.storage.database import Database
from livepin_server.storage.schema import configs

from .difference import difference
from .published import Published, require_stream


class Comparison(Struct, frozen=True, kw_only=True):
    """What the version `new` says otherwise than the version `old`, and who published each.

    `changed` are all changes in lines; `before` and `after` hold the members that differ, of very
    many the first ones; `touched` are the patterns whose protection differs.
    """

    old: Publication
    new: Publication
    changed: list[str]
    touched: list[str]
    before: dict[str, Any]
    after: dict[str, Any]


def compare(
    published: Published,
    database: Database,
    account: str,
    stream: str,
    old: int | None,
    new: int | None,
) -> Comparison:
    """Return what differs between two versions of a stream; None is the newest.

    Raises:
        NotFoundError: no such version, or it is one of another stream.
    """
    documents, found = [], []
    for number in (old, new):
        try:
            publication, raw = published.version(account, stream, number)
        except NotFoundError:
            _require_of(database, account, stream, number)
            raise
        found.append(publication)
        documents.append(Config.parse(parse_compact(raw, typ=TYP).payload))
    change = difference(*documents)
    return Comparison(
        old=found[0],
        new=found[1],
        changed=change.lines(),
        touched=change.touched,
        before=change.before,
        after=change.after,
    )


def _require_of(database: Database, account: str, stream: str, number: int | None) -> None:
    """Say of which stream a version is, if it is not of this one."""
    query = select(configs.c.stream).where(
        configs.c.account == account, configs.c.version == number
    )
    with database.reading() as connection:
        require_stream(connection, account, stream)
        other = connection.scalars(query).first()
    if other is not None:
        raise NotFoundError(
            f"config version {number} of {account} is one of the stream {other}, not of {stream}",
            hint=f"versions of one stream are compared: --stream {other}",
        )
