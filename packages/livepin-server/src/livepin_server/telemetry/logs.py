"""Structured logs on standard error: one JSON object a line, or text for people."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import datetime, timezone
from typing import Literal

_SECRET = re.compile(r"lpk_([a-z0-9]{12})_[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[!#-<>-~]+")  # what a value may be made of to stand without quotes
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record with its `extra` members; API keys never come through."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        members: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        members |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            members["error"] = self.formatException(record.exc_info)
        return redact(json.dumps(members, default=str))


class TextFormatter(logging.Formatter):
    """Formats a record for people; what strangers wrote is never taken for a line or a member."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line of text, and a traceback where there is one."""
        extra = " ".join(f"{k}={_quoted(v)}" for k, v in vars(record).items() if k not in _STANDARD)
        return redact(f"{super().format(record)} {extra}".rstrip())

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without its members."""
        text = super().formatMessage(record)
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def redact(text: str) -> str:
    """Return `text` without the secret of any API key in it."""
    return _SECRET.sub(r"lpk_\1_...", text)


def configure(level: str, form: Literal["json", "text"]) -> None:
    """Send all logs of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
