"""E-mail by the SMTP server of the settings. TLS is never left out because a server lacks it."""

from __future__ import annotations

import asyncio
import logging
import ssl

import aiosmtplib

from livepin_server.services.monitoring.channel_kinds import Email
from livepin_server.services.monitoring.outbox import Posted
from livepin_server.settings import MailServer

from .letter import letter
from .telling import TellError, settings_of, unverified

PATIENCE = 18.0  # seconds for all of it
_STEP = 10.0  # seconds for each reply
_LONGEST = 200  # characters of what a server says

logger = logging.getLogger("livepin.monitor")


class EmailNotifier:
    """Tells by mail. `server` is None where none is set; `ca` is PEM, the only anchors."""

    again = None

    def __init__(
        self,
        server: MailServer | None,
        *,
        ca: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._server = server
        self._patience = patience
        self._context = ssl.create_default_context(cadata=ca)

    async def tell(self, posted: Posted) -> None:
        """Hand a mail to the SMTP server.

        Raises:
            TellError: it did not take it.
        """
        settings = settings_of(posted, Email)
        if self._server is None:
            raise TellError("no SMTP server is set: smtp and smtp_from in livepin.toml")
        try:
            async with asyncio.timeout(self._patience):
                refused = await self._send(self._server, posted, settings.to)
        except aiosmtplib.SMTPException as exc:  # some are TimeoutErrors, too
            raise TellError(f"the SMTP server: {_said(exc)}") from None
        except TimeoutError:
            raise TellError(f"the SMTP server took over {self._patience:g} seconds") from None
        except (OSError, ValueError) as exc:
            raise TellError(f"the SMTP server: {_said(exc)}") from None
        _judge(refused, settings.to)

    async def _send(
        self, server: MailServer, posted: Posted, to: list[str]
    ) -> dict[str, aiosmtplib.SMTPResponse]:
        """Send a mail; return the addresses that were refused."""
        mail = letter(posted, sender=server.sender, to=to)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=server.sender.rpartition("@")[2],  # to ask for our own name takes long
            timeout=_STEP,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",  # required: without it, it ends here
            tls_context=self._context,
        )
        async with client:
            try:
                refused, _ = await client.send_message(mail, sender=server.sender, recipients=to)
            except aiosmtplib.SMTPRecipientsRefused as exc:
                return {
                    each.recipient: aiosmtplib.SMTPResponse(each.code, each.message)
                    for each in exc.recipients
                }
            except aiosmtplib.SMTPResponseException as exc:
                # About this mail: who may not connect or log in is told again later instead.
                raise TellError(
                    f"the SMTP server: {_said(exc)}", permanent=_is_permanent(exc.code)
                ) from None
        return refused


def _judge(refused: dict[str, aiosmtplib.SMTPResponse], to: list[str]) -> None:
    """Raise where somebody was not told who may be later, or nobody was."""
    if not refused:
        return
    first = next(iter(refused.values()))
    permanent = all(_is_permanent(each.code) for each in refused.values())
    if not permanent or len(refused) == len(to):
        raise TellError(
            f"the SMTP server refused {len(refused)} of {len(to)} addresses: "
            f"{first.code} {_clean(first.message)}",
            permanent=permanent,
        )
    logger.warning("the SMTP server refused %d of %d addresses", len(refused), len(to))


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
