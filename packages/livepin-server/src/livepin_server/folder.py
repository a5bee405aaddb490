"""The data folder: what is in it, how it is made, and how a server's parts come out of it."""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
from livepin.documents import root
from livepin.documents.config import check_url
from livepin.errors import ConfigurationError
from livepin.jose import PrivateKey, Signer, sign_general

from livepin_server import layout, lock
from livepin_server import settings as settings_file
from livepin_server.bus.memory import Bus, MemoryBus
from livepin_server.custody import root_file, sealed, tls_identity
from livepin_server.custody.files import replace_secret, write_secret
from livepin_server.custody.keeping import Custody
from livepin_server.custody.pkcs11 import InToken, Token
from livepin_server.errors import CustodyError, ServiceError
from livepin_server.probing.many import Lookout
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.composition import Services, compose
from livepin_server.services.delivery_settings import DeliveryChange, DeliverySettings, pin_texts
from livepin_server.services.model import Intent, Role
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel
from livepin_server.services.monitoring.composition import Monitoring, compose_monitoring
from livepin_server.services.publishing.published import Published
from livepin_server.services.publishing.publisher import Look
from livepin_server.settings import MailServer, Settings, mail_server
from livepin_server.storage import schema_version
from livepin_server.storage.database import Database

_INTENT = Intent(author="livepin init")
_FIRST_CHANNEL = "ops"

logger = logging.getLogger("livepin.server")

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `livepin init` is to make. Without `root_key` the root key stays on the server.

    `alert_email` are addresses that the account tells of what is found wrong.
    """

    data: Path
    account: str
    settings: Settings
    root_key: Path | None
    passphrase: str | None = field(repr=False)
    database: str | None = field(default=None, repr=False)  # in use, and not written down
    alert_email: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What delivery alone needs of a data folder: no signing key, no table that holds one.

    `api_keys` are hashes of random bits; they say who may read the metrics.
    """

    data: Path
    settings: Settings
    identity: tls_identity.TLSIdentity
    published: Published
    api_keys: ApiKeys
    bus: Bus
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder(Node):
    """An opened data folder. `mail` takes mail, if a server for that is set."""

    services: Services
    mail: MailServer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What looking alone needs of a data folder: its database, and no key at all."""

    settings: Settings
    monitoring: Monitoring
    bus: Bus
    clock: Clock


def initialise(plan: Plan, *, clock: Clock) -> None:
    """Make a data folder with a first account, or leave nothing behind.

    Raises:
        ConfigurationError, CustodyError, ServiceError: it cannot be made; the message says why.
    """
    data = plan.data.resolve()
    try:
        check_paths(data, plan.root_key)
        with ExitStack() as undo:
            making = beside(data, undo)
            _fill(making, plan, undo, clock=clock)
            if data.exists():
                data.rmdir()
            making.rename(data)
            undo.pop_all()
    except OSError as exc:
        raise ConfigurationError(f"cannot make {data}: {exc.strerror}") from exc


@contextmanager
def opened(
    data: Path,
    environment: Mapping[str, str],
    *,
    clock: Clock,
    upgrading: bool = False,
    look: Look | None = None,
) -> Iterator[Folder]:
    """Give the parts of a data folder whose lock the caller holds.

    Raises:
        ConfigurationError, CustodyError, SchemaError: it cannot be used; the message says why.
    """
    settings = read_settings(data, environment)
    mail = mail_server(settings, environment.get("LIVEPIN_SMTP_PASSWORD"))
    with open_database(settings, data) as database:
        if not upgrading:
            schema_version.require_current(database)
        custody = Custody(
            sealed.load_master_key(data / layout.MASTER_KEY, environment.get("LIVEPIN_MASTER_KEY")),
            _token(settings, environment),
        )
        if not upgrading:
            _finish_renewal(data, database)
        identity = tls_identity.load(data / layout.TLS)
        delivery = _delivery(settings, identity)
        services = compose(
            database,
            custody,
            _bus(database),
            clock=clock,
            delivery=lambda: delivery,
            look=look or Lookout().look,
        )
        if not upgrading:
            services.private_keys.settle()
        try:
            yield Folder(
                data=data,
                settings=settings,
                identity=identity,
                published=Published(database),
                api_keys=services.api_keys,
                bus=services.bus,
                clock=clock,
                services=services,
                mail=mail,
            )
        finally:
            _keep_uses(services)


@contextmanager
def delivering(data: Path, environment: Mapping[str, str], *, clock: Clock) -> Iterator[Node]:
    """Give what delivery alone needs of a data folder whose lock the caller holds.

    Neither `master.key` nor `operator.key` is needed there, nor is either read.

    Raises:
        ConfigurationError, CustodyError, SchemaError: it cannot be used; the message says why.
    """
    settings = read_settings(data, environment)
    with open_database(settings, data) as database:
        if database.shared is None:
            raise ConfigurationError(
                "delivery alone needs PostgreSQL: on SQLite one process does everything",
                hint="livepin serve without --only, or set database in livepin.toml",
            )
        schema_version.require_current(database)
        yield Node(
            data=data,
            settings=settings,
            identity=tls_identity.load(data / layout.TLS),
            published=Published(database),
            api_keys=ApiKeys(database, clock=clock),
            bus=_bus(database),
            clock=clock,
        )


@contextmanager
def looking(data: Path, environment: Mapping[str, str], *, clock: Clock) -> Iterator[Worker]:
    """Give what looking alone needs. Nothing in the folder but its settings is read.

    So its lock is not needed: a server may hold it.

    Raises:
        ConfigurationError, SchemaError: it cannot be used; the message says why.
    """
    settings = read_settings(data, environment)
    if settings_file.database_url(settings, data).startswith("sqlite"):
        raise ConfigurationError(
            "a worker needs PostgreSQL: on SQLite the server itself is the one that looks",
            hint="livepin serve, or set database in livepin.toml",
        )
    with open_database(settings, data) as database:
        schema_version.require_current(database)
        bus = _bus(database)
        yield Worker(
            settings=settings,
            monitoring=compose_monitoring(database, bus, clock=clock),
            bus=bus,
            clock=clock,
        )


def renew_operator_key(opened: Folder) -> str:
    """Put a new admin key into `operator.key`, whatever is there; return what it is called.

    Who can do this has the database and the master key, and needs no key of before.
    """
    api_keys = opened.services.api_keys
    taken = {each.name for each in api_keys.all() if each.revoked is None}
    names = itertools.chain(["operator"], (f"operator-{n}" for n in itertools.count(2)))
    name = next(each for each in names if each not in taken)
    _, text = api_keys.create(name, Role.ADMIN, None, Intent(author="livepin api-key recover"))
    replace_secret(opened.data / layout.OPERATOR_KEY, text.encode() + b"\n")
    return name


def renew_identity(opened: Folder, *, clock: Clock) -> None:
    """Give delivery new keys, and publish their pins in every account.

    Clients that do not have these pins yet take the config over a recovery URL. The old files
    are kept in `tls.old`.
    """
    fresh = opened.data / layout.NEXT_TLS
    shutil.rmtree(fresh, ignore_errors=True)
    identity = tls_identity.create(fresh, _hosts(opened.settings), now=clock())
    pins = pin_texts(identity.pins)
    opened.services.publisher.set_delivery_of_all(
        DeliveryChange(pins=pins, ca=identity.ca),
        Intent(author="livepin", reason="new delivery keys"),
    )
    _take_over(opened.data)


def _take_over(data: Path) -> None:
    """Put the new delivery keys in the place of those of now; their pins are published."""
    fresh, current, old = (data / each for each in (layout.NEXT_TLS, layout.TLS, "tls.old"))
    shutil.rmtree(old, ignore_errors=True)
    current.rename(old)
    fresh.rename(current)


def read_settings(data: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a data folder.

    Raises:
        ConfigurationError: it is none, or they cannot be used; the message says why.
    """
    try:
        text = (data / settings_file.FILE).read_text("utf-8")
    except OSError as exc:
        raise ConfigurationError(
            f"{data} is not a Livepin data folder: {exc.strerror}",
            hint=f"make one with: livepin init {data}",
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{settings_file.FILE}: {exc}", hint="write it in UTF-8") from exc
    return settings_file.parse(text, environment)


@contextmanager
def open_database(settings: Settings, data: Path) -> Iterator[Database]:
    """Give the database; if it is a file elsewhere, with a lock of its own: one process."""
    with ExitStack() as stack:
        database = Database(settings_file.database_url(settings, data))
        stack.callback(database.close)
        path = database.path
        if path is not None and path.resolve().parent != data.resolve():
            stack.enter_context(lock.holding(path.parent, f"{path.name}.lock"))
        database.settle()
        yield database


def _token(settings: Settings, environment: Mapping[str, str]) -> InToken | None:
    """Return what keeps the server's keys in a token, where one is set up."""
    module, label = settings.pkcs11_module, settings.pkcs11_token
    if module is None and label is None:
        return None
    if module is None or label is None:
        raise ConfigurationError(
            "expected both pkcs11_module and pkcs11_token, found one of them",
            hint="the library of the token, and the label of the token",
        )

    def pin() -> str:
        found = environment.get("LIVEPIN_PKCS11_PIN")
        if not found:
            raise CustodyError(
                f"the token {label} needs a PIN",
                hint="give it as LIVEPIN_PKCS11_PIN",
            )
        return found

    return InToken(Token(Path(module), label, pin))


def _bus(database: Database) -> Bus:
    if database.shared is None:
        return MemoryBus()
    from livepin_server.bus.postgres import PostgresBus  # psycopg is an extra

    return PostgresBus(database.shared)


def _finish_renewal(data: Path, database: Database) -> None:
    """Finish a renewal that was cut off once its pins were published: apps expect these keys."""
    fresh, current = data / layout.NEXT_TLS, data / layout.TLS
    if not fresh.exists():
        return
    if not current.exists():
        fresh.rename(current)
        return
    with suppress(CustodyError):  # half-made, so nothing of it was published
        if Published(database).is_delivered_by(pin_texts(tls_identity.load(fresh).pins)):
            _take_over(data)


def _keep_uses(services: Services) -> None:
    try:
        services.api_keys.keep_uses()
        services.recording.keep()
    except ServiceError as exc:
        logger.warning("the last uses of API keys and installations are not kept: %s", exc)


def _hosts(settings: Settings) -> list[str]:
    """Return the hosts of the delivery URLs, and this machine's, for the commands."""
    found = [check_url(url, schemes=("https",)) for url in settings.delivery_urls]
    return list(dict.fromkeys([*found, "localhost", "127.0.0.1"]))


def beside(data: Path, undo: ExitStack) -> Path:
    """Make the folder that becomes `data`, and the parents that are missing."""
    for parent in [each for each in reversed(data.parents) if not each.exists()]:
        parent.mkdir()
        undo.callback(_remove_empty, parent)
    making = Path(tempfile.mkdtemp(prefix=f".{data.name}.", dir=data.parent))
    undo.callback(shutil.rmtree, making, ignore_errors=True)
    return making


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _fill(making: Path, plan: Plan, undo: ExitStack, *, clock: Clock) -> None:
    (making / settings_file.FILE).write_text(settings_file.render(plan.settings), "utf-8")
    custody = Custody(sealed.new_master_key(making / layout.MASTER_KEY))
    identity = tls_identity.create(making / layout.TLS, _hosts(plan.settings), now=clock())
    delivery = _delivery(plan.settings, identity)
    with open_database(_in_use(plan), making) as database:
        if schema_version.current(database) is not None:
            raise ConfigurationError(
                "the database holds the data of another Livepin server",
                hint="name an empty database; or copy that server's data folder to serve it too",
            )
        schema_version.create(database)
        try:
            services = compose(
                database,
                custody,
                MemoryBus(),
                clock=clock,
                delivery=lambda: delivery,
                look=Lookout().look,
            )
            _create_account(services, custody, plan, undo)
            if plan.alert_email:
                mail = NewChannel(name=_FIRST_CHANNEL, settings=Email(to=[*plan.alert_email]))
                services.channels.add(plan.account, mail, _INTENT)
            _, text = services.api_keys.create("operator", Role.ADMIN, None, _INTENT)
            write_secret(making / layout.OPERATOR_KEY, text.encode() + b"\n")
        except BaseException:
            schema_version.remove(database)
            raise


def _in_use(plan: Plan) -> Settings:
    if plan.database is None:
        return plan.settings
    return msgspec.structs.replace(plan.settings, database=plan.database)


def _create_account(services: Services, custody: Custody, plan: Plan, undo: ExitStack) -> None:
    """Make a root key and the account under it, all in this process."""
    key: Signer
    if plan.root_key is None:
        kept = custody.new(plan.account, "root")
        key = kept.signer
        payload = services.accounts.prepare(plan.account, [dict(key.public.jwk())], _INTENT)
        services.accounts.keep_root_key(kept, _INTENT)
    else:
        key = PrivateKey.generate()
        payload = services.accounts.prepare(plan.account, [dict(key.public.jwk())], _INTENT)
        root_file.write_root_key(
            plan.root_key, key, account=plan.account, passphrase=plan.passphrase or ""
        )
        undo.callback(plan.root_key.unlink, missing_ok=True)  # only now: it is ours
    document = sign_general(payload, typ=root.TYP, signers=[key])
    services.accounts.create(plan.account, document, _INTENT)


def _delivery(settings: Settings, identity: tls_identity.TLSIdentity) -> DeliverySettings:
    return DeliverySettings(
        urls=settings.delivery_urls,
        recovery_urls=settings.recovery_urls,
        pins=pin_texts(identity.pins),
        ca=identity.ca,
        refresh_interval=settings.refresh_interval,
    )


def check_paths(data: Path, root_key: Path | None = None) -> None:
    """Refuse a folder that is there already, or a root key in it.

    Raises:
        ConfigurationError, CustodyError: the message says which.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise ConfigurationError(f"{data} exists already", hint="name a new folder")
    if root_key is None:
        return
    path = root_key.resolve()
    if path.is_relative_to(data):
        raise ConfigurationError(
            f"the root key must not be in the data folder {data}",
            hint="who steals the server would have it; name a file elsewhere",
        )
    if path.exists():
        raise CustodyError(f"{path} exists already", hint="name a new file")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path.parent} is not a folder", hint="make it first")
