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

from .memory import Announcement, MemoryBus

_CHANNEL = "livepin"
_NAME = msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")
_NUMBER = msgspec.Meta(ge=1, le=2**53 - 1)

logger = logging.getLogger("livepin.bus")


class _News(msgspec.Struct, frozen=True, tag="news"):
    sender: str
    account: Annotated[str, _NAME]
    stream: Annotated[str, _NAME]
    root_version: Annotated[int, _NUMBER]
    version: Annotated[int, _NUMBER]


class _Beat(msgspec.Struct, frozen=True, tag="beat"):
    sender: str


_decode = msgspec.json.Decoder(_News | _Beat).decode


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

    def enclose(self, connection: Connection, announcement: Announcement) -> None:
        """Notify with the commit of this transaction."""
        news = _News(
            sender=self._name,
            account=announcement.account,
            stream=announcement.stream,
            root_version=announcement.root_version,
            version=announcement.version,
        )
        connection.execute(select(func.pg_notify(_CHANNEL, msgspec.json.encode(news).decode())))

    async def listen(self, in_step: Callable[[bool], None]) -> None:
        """Hear the other processes until cancelled, whatever becomes of the connection."""
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
            self.announce(
                Announcement(
                    account=found.account,
                    stream=found.stream,
                    root_version=found.root_version,
                    version=found.version,
                )
            )
        return False
