"""The bus of several processes on one PostgreSQL: LISTEN and NOTIFY.

An announcement is part of the transaction that it tells of: PostgreSQL delivers it if, and only
if, that is committed, even when the announcing process dies right then. What is announced while a
listener is cut off is lost to it, so it is told when it is back, and fetches everything anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import aclosing
from time import monotonic
from typing import Annotated, Any

import msgspec
import psycopg
from sqlalchemy import Connection, func, select

from .memory import (
    MOST_SPENT,
    Announcement,
    MemoryBus,
    MonitorWanted,
    News,
    OverridesChanged,
    Spent,
    TokensChanged,
)

_CHANNEL = "livepin"
_NAME = msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")
_NUMBER = msgspec.Meta(ge=1, le=2**53 - 1)
_Challenge = Annotated[bytes, msgspec.Meta(min_length=12, max_length=12)]

logger = logging.getLogger("livepin.bus")


class _News(msgspec.Struct, frozen=True, tag="news"):
    sender: str
    account: Annotated[str, _NAME]
    stream: Annotated[str, _NAME]
    root_version: Annotated[int, _NUMBER]
    version: Annotated[int, _NUMBER]


class _Tokens(msgspec.Struct, frozen=True, tag="tokens"):
    sender: str
    account: Annotated[str, _NAME]


class _Overrides(msgspec.Struct, frozen=True, tag="overrides"):
    sender: str
    account: Annotated[str, _NAME]


class _Monitor(msgspec.Struct, frozen=True, tag="monitor"):
    sender: str
    account: Annotated[str, _NAME]


class _Spent(msgspec.Struct, frozen=True, tag="spent"):
    sender: str
    challenges: Annotated[list[_Challenge], msgspec.Meta(max_length=MOST_SPENT)]


class _Beat(msgspec.Struct, frozen=True, tag="beat"):
    sender: str


_decode = msgspec.json.Decoder(_News | _Tokens | _Overrides | _Monitor | _Spent | _Beat).decode


class _DeafError(Exception):
    """The connection stands, but nothing comes back over it."""


class PostgresBus(MemoryBus):
    """A bus among all processes on a database, over a connection of its own.

    `connect` is what psycopg takes. Every `beat` seconds it must hear itself within `patience`;
    otherwise, and whenever the connection ends, it connects anew after `pause`.
    """

    def __init__(
        self,
        connect: Mapping[str, Any],
        *,
        beat: float = 30.0,
        patience: float = 10.0,
        pause: float = 1.0,
    ) -> None:
        super().__init__()
        self._connect = dict(connect)
        self._beat = beat
        self._patience = patience
        self._pause = pause
        self._name = secrets.token_hex(8)
        self._telling: psycopg.AsyncConnection[Any] | None = None

    def enclose(self, connection: Connection, news: News) -> None:
        """Notify with the commit of this transaction."""
        connection.execute(select(func.pg_notify(_CHANNEL, self._written(news))))

    async def tell(self, news: News) -> None:
        """Notify over a connection for that alone.

        Raises:
            OSError: the database is not there.
        """
        try:
            if self._telling is None or self._telling.closed:
                self._telling = await psycopg.AsyncConnection.connect(
                    **self._connect, autocommit=True
                )
            async with asyncio.timeout(self._patience):
                await self._telling.execute(
                    "SELECT pg_notify(%s, %s)", (_CHANNEL, self._written(news))
                )
        except (psycopg.Error, TimeoutError) as exc:
            await self._hang_up()
            raise OSError(str(exc).partition("\n")[0]) from exc

    async def listen(self, in_step: Callable[[bool], None]) -> None:
        """Hear the other processes until cancelled, whatever becomes of the connection."""
        try:
            await self._listen(in_step)
        finally:
            await self._hang_up()

    async def _hang_up(self) -> None:
        telling, self._telling = self._telling, None
        if telling is not None:
            await telling.close()

    async def _listen(self, in_step: Callable[[bool], None]) -> None:
        lost = False
        while True:
            heard = False
            try:
                async with await psycopg.AsyncConnection.connect(
                    **self._connect, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {_CHANNEL}".encode())
                    await self._check(connection)
                    heard = True
                    if lost:
                        logger.info("in step with other processes again")
                    in_step(True)
                    await self._hear(connection)
            except (psycopg.Error, OSError, _DeafError) as exc:
                if heard or not lost:
                    reason = str(exc).partition("\n")[0]
                    logger.warning("out of step with other processes: %s", reason)
            except Exception:
                logger.exception("out of step with other processes")
            lost = True
            in_step(False)
            await asyncio.sleep(self._pause)

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            await self._receive(connection, monotonic() + self._beat)
            await self._check(connection)

    async def _check(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Require that a notification of our own comes back: a pooler may swallow them."""
        beat = msgspec.json.encode(_Beat(sender=self._name)).decode()
        try:
            async with asyncio.timeout(self._patience):
                await connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, beat))
        except TimeoutError:
            raise _DeafError("the database does not answer") from None
        if not await self._receive(connection, monotonic() + self._patience, beat=True):
            raise _DeafError("notifications do not arrive; is a pooler between?")

    async def _receive(
        self, connection: psycopg.AsyncConnection[Any], until: float, *, beat: bool = False
    ) -> bool:
        """Pass on what comes until then, or until our own beat; tell whether that has come."""
        found = connection.notifies(timeout=max(0.0, until - monotonic()))
        async with aclosing(found) as notifications:
            async for each in notifications:
                if self._take(each.payload) and beat:
                    return True
        return False

    def _take(self, payload: str) -> bool:
        """Announce what another process said; tell whether it is our own beat."""
        try:
            found = _decode(payload)
        except msgspec.DecodeError as exc:
            logger.warning("a notification is not one of Livepin's: %s", exc)
            return False
        if isinstance(found, _Beat):
            return found.sender == self._name
        if found.sender != self._name:  # what this process published was announced here
            self.announce(_heard(found))
        return False

    def _written(self, news: News) -> str:
        return msgspec.json.encode(_said(news, self._name)).decode()


def _said(news: News, sender: str) -> _News | _Tokens | _Overrides | _Monitor | _Spent:
    if isinstance(news, TokensChanged):
        return _Tokens(sender=sender, account=news.account)
    if isinstance(news, OverridesChanged):
        return _Overrides(sender=sender, account=news.account)
    if isinstance(news, MonitorWanted):
        return _Monitor(sender=sender, account=news.account)
    if isinstance(news, Spent):
        return _Spent(sender=sender, challenges=list(news.challenges))
    return _News(
        sender=sender,
        account=news.account,
        stream=news.stream,
        root_version=news.root_version,
        version=news.version,
    )


def _heard(found: _News | _Tokens | _Overrides | _Monitor | _Spent) -> News:
    if isinstance(found, _Tokens):
        return TokensChanged(account=found.account)
    if isinstance(found, _Overrides):
        return OverridesChanged(account=found.account)
    if isinstance(found, _Monitor):
        return MonitorWanted(account=found.account)
    if isinstance(found, _Spent):
        return Spent(challenges=tuple(found.challenges))
    return Announcement(
        account=found.account,
        stream=found.stream,
        root_version=found.root_version,
        version=found.version,
    )
