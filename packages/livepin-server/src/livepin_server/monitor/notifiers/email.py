"""E-mail by the SMTP server of the settings. TLS is never left out because a server lacks it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import aiosmtplib

from livepin_server.services.monitoring.channel_kinds import Email
from livepin_server.services.monitoring.outbox import Posted
from livepin_server.settings import MailServer

from .letter import letter
from .telling import TellError, anchored, settings_of, unverified

PATIENCE = 18.0  # seconds until a server is ready for the mail itself
TAKING = 120.0  # seconds until it has taken that: many look through it first (RFC 5321, 4.5.3.2.6)
_STEP = 10.0  # seconds for each reply
_LEAVING = 1.0  # seconds to say good-bye, on which nothing depends
_LONGEST = 200  # characters of what a server says
_MOST_NAMED = 3  # addresses
_LOGIN_WANTED = 530  # RFC 4954, 6
_POLICY = "5.7."  # RFC 3463, 3.8: whom a server serves, such as who relays by it


class EmailNotifier:
    """Tells by mail. `server` is None where none is set; `ca` is PEM, the only anchors."""

    again = None

    def __init__(
        self,
        server: MailServer | None,
        *,
        ca: str | None = None,
        patience: float = PATIENCE,
        taking: float = TAKING,
    ) -> None:
        self._server = server
        self._patience = patience
        self._taking = taking
        self._ca = ca

    async def tell(self, posted: Posted) -> str | None:
        """Hand a mail to the SMTP server; return which addresses it refused, where it took others.

        Those are not tried again: whoever was told would be told each time.

        Raises:
            TellError: it did not take it for anybody.
        """
        settings = settings_of(posted, Email)
        if self._server is None:
            raise TellError("no SMTP server is set: smtp and smtp_from in livepin.toml")
        try:
            return await self._send(self._server, posted, settings.to)
        except aiosmtplib.SMTPDataError as exc:
            # About this mail; all that is about the server mends itself for whatever waits.
            permanent = _is_permanent(exc.code)
            raise TellError(f"the SMTP server: {_said(exc)}", permanent=permanent) from None
        except aiosmtplib.SMTPException as exc:  # some are TimeoutErrors, too
            raise TellError(f"the SMTP server: {_said(exc)}") from None
        except TimeoutError:
            raise TellError(f"the SMTP server took over {self._patience:g} seconds") from None
        except (OSError, ValueError) as exc:
            raise TellError(f"the SMTP server: {_said(exc)}") from None

    async def _send(self, server: MailServer, posted: Posted, to: list[str]) -> str | None:
        mail = letter(posted, sender=server.sender, to=to).as_bytes()
        secure = server.security != "cleartext"
        context = await anchored(self._ca) if secure else None
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=server.sender.rpartition("@")[2],  # to ask for our own name takes long
            timeout=_STEP,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",  # required: without it, it ends here
            tls_context=context,
        )
        try:
            async with asyncio.timeout(self._patience):
                await client.connect()
                await client.mail(server.sender)
                refused = await _refused(client, to)
            # Once it has the mail, we ask for nothing but its word: not to wait is to tell twice.
            await client.data(mail, timeout=self._taking)
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=_LEAVING)
        finally:
            client.close()
        return _which(refused) if refused else None


async def _refused(
    client: aiosmtplib.SMTP, to: Sequence[str]
) -> list[aiosmtplib.SMTPRecipientRefused]:
    """Name the recipients of a mail; return those who were refused, which are not all."""
    refused: list[aiosmtplib.SMTPRecipientRefused] = []
    for each in to:
        try:
            await client.rcpt(each)
        except aiosmtplib.SMTPRecipientRefused as exc:
            refused.append(exc)
    if len(refused) < len(to):
        return refused
    raise TellError(
        f"the SMTP server refused {len(refused)} of {len(to)} addresses: {_said(refused[0])}",
        permanent=all(map(_is_unknown, refused)),
    )


def _which(refused: Sequence[aiosmtplib.SMTPRecipientRefused]) -> str:
    named = ", ".join(each.recipient for each in refused[:_MOST_NAMED])
    more = f" and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
    return f"the SMTP server refused {named}{more}: {_said(refused[0])}"


def _is_unknown(refused: aiosmtplib.SMTPRecipientRefused) -> bool:
    """Tell whether it is the address that is refused, and not whoever gives it."""
    about_us = refused.code == _LOGIN_WANTED or refused.message.startswith(_POLICY)
    return _is_permanent(refused.code) and not about_us


def _is_permanent(code: int) -> bool:
    return 500 <= code < 600


def _said(exc: Exception) -> str:
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return f"{exc.code} {_clean(exc.message)}"
    found = unverified(exc)
    if found is not None:
        return found
    return _clean(str(exc)) or type(exc).__name__


def _clean(text: str) -> str:
    """Return what a server said, on one line; it may be anybody's text."""
    return "".join(each if each.isprintable() else " " for each in text[:_LONGEST])
