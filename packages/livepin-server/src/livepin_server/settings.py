"""Settings: one TOML file in the data folder, and LIVEPIN_* variables that win over it.

Nothing here reads a file or the environment; `main` does, and passes both in.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec
import tomllib
from livepin.documents.config import check_url
from livepin.errors import ConfigurationError, MalformedError

FILE = "livepin.toml"
_PREFIX = "LIVEPIN_"
# Variables of the commands and of custody, which are no settings.
_OTHERS = {
    "DATA", "URL", "API_KEY", "CA", "PROFILE", "PROFILES", "MASTER_KEY", "ROOT_PASSPHRASE",
    "KEY_PASSPHRASE", "BACKUP_PASSPHRASE", "PKCS11_PIN", "CHANNEL_SECRET", "SMTP_PASSWORD",
    "DEBUG",
}  # fmt: skip

_LISTED = {"DELIVERY_URLS", "RECOVERY_URLS", "EXPORT"}  # words in a variable

_MOST = 32 * 1024  # characters of the file: the parser may need memory by their square
_DATABASE = re.compile(r"\s*database\s*=")
_SENDER = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{0,251}")
_SMTP = "expected smtp+starttls://USER@HOST:PORT or smtps://USER@HOST:PORT"
_MEMBER = re.compile(r" - at `\$\.(\w+)[^`]*`")  # how msgspec says where it is

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server needs to know; every field has a safe default, or is required.

    `delivery_urls` are the public base URLs that clients use. Port 0 lets the system choose.
    """

    delivery_urls: Annotated[list[str], msgspec.Meta(min_length=1)]
    recovery_urls: list[str] = []
    delivery_host: str = "0.0.0.0"  # noqa: S104 - delivery is the public listener
    delivery_port: Port = 8443
    management_host: str = "127.0.0.1"
    management_port: Port = 8444
    database: str | None = None  # an SQLAlchemy URL; None is livepin.db in the data folder
    pkcs11_module: str | None = None  # the library of a token; new keys are made in the token
    pkcs11_token: str | None = None  # its label
    export: list[str] = []  # folders and object stores that get what is published
    refresh_interval: Annotated[int, msgspec.Meta(ge=1, le=604800)] = 300  # seconds
    smtp: str | None = None  # the server that takes mail, such as smtps://USER@HOST
    smtp_from: str | None = None  # the address that mail comes from
    monitoring: bool = True  # whether this server looks at endpoints; others may look for it
    max_endpoint_metrics: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10_000
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    requests_per_second: Annotated[float, msgspec.Meta(gt=0)] = 50.0  # per address
    max_streams: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # open event streams
    max_streams_per_address: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # carriers share addresses


def parse(text: str, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a TOML text and the environment.

    Raises:
        ConfigurationError: not TOML, an unknown name, or a value of another kind.
    """
    try:
        if len(text) > _MOST:
            raise ValueError(f"expected at most {_MOST} characters, found {len(text)}")
        members: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # too many digits, too many levels
        raise ConfigurationError(f"{FILE}: {exc}", hint=f"mend {FILE}, then try again") from exc
    variables = _from_environment(environment)
    for name in (*members, *variables):
        _require_known(name, variables)
    try:
        settings = msgspec.convert(members | variables, Settings, strict=False)
    except msgspec.ValidationError as exc:
        found = _MEMBER.search(str(exc))
        reason = _MEMBER.sub("", str(exc)).replace("`", "")
        raise _refused(found[1] if found else None, reason, variables) from exc
    _check_urls("delivery_urls", settings.delivery_urls, ("https",), variables)
    _check_urls("recovery_urls", settings.recovery_urls, ("https", "http"), variables)
    _check_targets(settings.export, variables)
    _check_mail(settings, variables)
    _check_listeners(settings)
    return settings


def render(settings: Settings) -> str:
    """Return the TOML text that `init` writes: what was chosen, nothing that is a default."""
    lines = ["# Settings of this Livepin server; LIVEPIN_* variables win over them.", ""]
    defaults = msgspec.to_builtins(Settings(delivery_urls=[]))
    for name, value in msgspec.to_builtins(settings).items():
        if value != defaults[name]:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines) + "\n"


def with_database(text: str, url: str | None) -> str:
    """Return a settings file that names another database, or none; its other lines stay."""
    lines = [each for each in text.splitlines() if not _DATABASE.match(each)]
    if url is not None:
        lines.insert(0, f"database = {msgspec.json.encode(url).decode()}")
    return "\n".join(lines) + "\n"


def database_url(settings: Settings, data: Path) -> str:
    """Return the URL of the database."""
    return settings.database or f"sqlite:///{data / 'livepin.db'}"


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """The SMTP server that takes mail, and the address that mail comes from."""

    host: str
    port: int
    security: Literal["starttls", "tls", "cleartext"]
    sender: str
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port})"


def mail_server(settings: Settings, password: str | None) -> MailServer | None:
    """Return the SMTP server, given the password of its user; None where none is set.

    Raises:
        ConfigurationError: there is a user without a password, a password without a user, or a
            server without a sender.
    """
    if settings.smtp is None and settings.smtp_from is None:
        return None
    if settings.smtp is None or settings.smtp_from is None:
        missing = "smtp" if settings.smtp is None else "smtp_from"
        raise ConfigurationError(
            f"expected both smtp and smtp_from, found no {missing}", hint=f"set {missing} too"
        )
    found = _mail_server(settings.smtp, settings.smtp_from)
    if (found.user is None) != (not password):
        what = "password" if found.user else "user"
        raise ConfigurationError(
            f"the setting smtp has no {what}",
            hint="name the user in smtp, and give the password as LIVEPIN_SMTP_PASSWORD",
        )
    return msgspec.structs.replace(found, password=password or None)


def _mail_server(url: str, sender: str) -> MailServer:
    """Return the SMTP server of a URL.

    Raises:
        ValueError: it is none. The message quotes nothing of the URL, which may hold a password.
    """
    schemes: dict[str, tuple[Literal["starttls", "tls", "cleartext"], int]] = {
        "smtp+starttls": ("starttls", 587), "smtps": ("tls", 465),
        "smtp": ("cleartext", 25), "smtp+cleartext": ("cleartext", 25),
    }  # fmt: skip
    try:
        parts = urlsplit(url)
        host, user, given = parts.hostname, unquote(parts.username or "") or None, parts.port
    except ValueError:  # it quotes what is wrong: of a password with `#` or `/` its beginning
        raise ValueError(_SMTP) from None
    # A password may hold `#`, `?` and `/` too: what is before them is then no host and port.
    if parts.scheme not in schemes or not host or parts.path.strip("/") or set(url) & {"#", "?"}:
        raise ValueError(_SMTP)
    if parts.password is not None:
        raise ValueError("expected no password in it: give it as LIVEPIN_SMTP_PASSWORD")
    security, port = schemes[parts.scheme]
    if security == "cleartext" and not _is_loopback(host):
        # Who reads it on the way could also answer the mail, and take the password.
        if parts.scheme == "smtp":
            raise ValueError("expected TLS: smtp+starttls:// or smtps://")
        if user is not None:
            raise ValueError("expected no user where the password would go in cleartext")
    if not _SENDER.fullmatch(sender):
        raise ValueError("expected smtp_from to be an address, such as livepin@example.com")
    return MailServer(host=host, port=given or port, security=security, sender=sender, user=user)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_mail(settings: Settings, variables: Mapping[str, Any]) -> None:
    try:
        _mail_server(settings.smtp or "smtp://localhost", settings.smtp_from or "a@localhost")
    except ValueError as exc:
        name = "smtp_from" if "smtp_from" in str(exc) else "smtp"
        raise _refused(name, str(exc), variables) from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, value in environment.items():
        name = variable.removeprefix(_PREFIX)
        if variable.startswith(_PREFIX) and name not in _OTHERS:
            listed = name in _LISTED
            found[name.lower()] = value.split() if listed else value
    return found


def _require_known(name: str, variables: Mapping[str, Any]) -> None:
    known = list(Settings.__struct_fields__)
    if name in known:
        return
    what = f"{FILE}: there is no setting {name!r}"
    if name in variables:
        what, known = f"there is no variable {_variable(name)}", [_variable(each) for each in known]
        name = _variable(name)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"
    raise ConfigurationError(what, hint=hint)


def _check_urls(
    name: str, urls: list[str], schemes: tuple[str, ...], variables: Mapping[str, Any]
) -> None:
    for url in urls:
        try:
            check_url(url, schemes=schemes)
        except MalformedError as exc:
            raise _refused(name, str(exc), variables) from exc


def _check_targets(targets: list[str], variables: Mapping[str, Any]) -> None:
    """Refuse what would depend on where the server is started."""
    for each in targets:
        if not each.startswith("/") and "://" not in each:
            raise _refused(
                "export", f"expected an absolute path or a URL, found {each[:80]!r}", variables
            )


def _check_listeners(settings: Settings) -> None:
    """Refuse two listeners on one port: the system would give management to the internet."""
    port, hosts = settings.delivery_port, (settings.delivery_host, settings.management_host)
    if port == settings.management_port != 0 and not _are_apart(*hosts):
        raise ConfigurationError(
            f"delivery and management cannot both listen on port {port}",
            hint="give management_port, or each its own address",
        )


def _are_apart(*hosts: str) -> bool:
    """Tell whether these are different addresses of this machine, neither of them all."""
    try:
        found = {ipaddress.ip_address(host) for host in hosts}
    except ValueError:
        return False  # a name may stand for any
    return len(found) == len(hosts) and not any(each.is_unspecified for each in found)


def _refused(name: str | None, reason: str, variables: Mapping[str, Any]) -> ConfigurationError:
    """Return the error about a value, which says where that value came from."""
    if name is not None and name in variables:
        where, what = _variable(name), "the variable"
    else:
        where, what = f"{FILE}: {name}" if name else FILE, FILE
    return ConfigurationError(f"{where}: {reason}", hint=f"mend {what}, then try again")


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"
