"""The mail that a notice is: pure. Nothing in it is loaded from elsewhere, nothing is a link."""

from __future__ import annotations

import html
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from livepin_server.services.monitoring.model import Notice
from livepin_server.services.monitoring.outbox import Posted

from .telling import details, further, headline, mending, plain, purpose

_SUBJECT = 180  # characters
_MARKS = {"info": "#1f6feb", "warning": "#9a6700", "critical": "#b42318"}
_GOOD = "#1a7f37"


def letter(posted: Posted, *, sender: str, to: Sequence[str]) -> EmailMessage:
    """Return the mail of a notice. All attempts at one have the same Message-ID.

    Raises:
        ValueError: an address would break the header.
    """
    notice = posted.notice
    mail = EmailMessage(policy=SMTP)
    domain = sender.rpartition("@")[2]
    mail["Subject"] = _subject(notice)
    mail["From"] = f"Livepin <{sender}>"
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(notice.moment)
    mail["Message-ID"] = f"<{posted.key}.livepin@{domain}>"
    if notice.incident is not None:
        # What mail programs show as one conversation.
        mail["References"] = f"<incident-{notice.incident}.{posted.account}.livepin@{domain}>"
    elif notice.subject:
        mail["References"] = f"<{notice.subject}.{posted.account}.livepin@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834, 5: nobody's machine answers
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(_text(notice), cte="quoted-printable")
    mail.add_alternative(_html(notice), subtype="html", cte="quoted-printable")
    return mail


def _subject(notice: Notice) -> str:
    mark = "test" if notice.event == "test" else notice.severity
    return f"[Livepin] {mark}: {headline(notice)}"[:_SUBJECT]


def _text(notice: Notice) -> str:
    lines = [plain(notice.sentence)]
    commands = mending(notice)
    if commands:
        # Each by itself, at the start of a line, so that it can be copied as it stands.
        lines += ["", _heading(notice), "", *commands]
    lines += ["", *(f"{name}: {value}" for name, value in details(notice))]
    if notice.lines:
        lines += ["", *further(notice)]
    return "\n".join(lines) + "\n"


def _html(notice: Notice) -> str:
    colour = _GOOD if notice.event == "resolved" else _MARKS[notice.severity]
    parts = [
        f'<h2 style="margin:0 0 12px;font-size:18px;color:{colour}">{_safe(headline(notice))}</h2>',
        f'<p style="margin:0 0 16px">{_safe(notice.sentence)}</p>',
    ]
    commands = "\n".join(map(_safe, mending(notice)))
    if commands:
        parts.append(
            f'<p style="margin:0 0 4px">{_heading(notice)}</p>'
            '<pre style="margin:0 0 16px;padding:10px;background:#f2f2f2;white-space:pre-wrap;'
            f'overflow-wrap:anywhere;font-size:13px">{commands}</pre>'
        )
    parts.append('<table style="border-collapse:collapse;font-size:14px">')
    parts += [
        '<tr><td style="padding:3px 14px 3px 0;color:#555;vertical-align:top">'
        f'{_safe(name)}</td><td style="padding:3px 0;overflow-wrap:anywhere">{_safe(value)}</td>'
        "</tr>"
        for name, value in details(notice)
    ]
    parts.append("</table>")
    parts += [f'<p style="margin:8px 0 0">{_safe(each)}</p>' for each in further(notice)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Livepin</title></head>'
        '\n<body style="margin:0;padding:20px;max-width:720px;font-family:sans-serif;'
        f'font-size:15px;line-height:1.45;color:#222">\n{body}\n</body></html>\n'
    )


def _heading(notice: Notice) -> str:
    return f"{purpose(notice).capitalize()}:"


def _safe(text: str) -> str:
    return html.escape(plain(text))
