"""`Client`: what an app holds. It wires trust, store, updater, push and the pinned context."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, Literal, TypeVar

from livepin.bootstrap import Bootstrap
from livepin.documents import Domain
from livepin.documents.token_request import is_app_name
from livepin.errors import ConfigurationError, LivepinError, PinMismatchError, VerificationError
from livepin.evidence import Evidence
from livepin.evidence.signals import Signals
from livepin.hostnames import normalise
from livepin.jose import Signer
from livepin.pins import PREFIX, fingerprint_text, parse_fingerprint
from livepin.tokens import installation_id

from .backoff import Backoff
from .clocks import Clock, utc_now
from .context import PinnedContext
from .fetcher import Fetcher, HTTPFetcher, Request
from .gathering import Gathering
from .healing import Healing
from .held import Held
from .installation import Installation
from .judge import ConfigJudge, Unlisted
from .judging import Judging, passes
from .overrides import Overrides
from .proofs import Proofs
from .push import PushListener
from .reports import Reports
from .sources import key_source, load_bootstrap, open_store
from .status import Status
from .store import Store
from .threads import Background, is_ending, resting
from .token_fetcher import TokenFetcher, TokenState
from .tokens import Key, Token, Tokens
from .trusted import Trusted
from .updater import DEADLINE, Updater

logger = logging.getLogger("livepin")

_J = TypeVar("_J", bound=Judging)
WithoutToken = Literal["refuse", "send"]

_FIRST_RETRY = 2.0  # seconds at most, after one failed update; the next pauses grow
_IDLE = 5.0  # seconds between looks for open connections when a refresh is due
_REPORT_SIZE = 16 * 1024
_NO_KEY = fingerprint_text(bytes(32)).removeprefix(PREFIX)  # nothing known has this SHA-256


class Client:
    """Pins the connections of an app by configs that its owner signs.

    `bootstrap` is a path, the JSON text, the one-string form, or a `Bootstrap`. `store` is where
    newer configs outlive the process: a path, a `Store`, or None for this process only. `ca` is
    PEM with the only trust anchors for the app's hosts, None for the system's. Hosts that no
    domain covers are ordinary TLS (`unlisted="system"`) or refused (`"refuse"`).

    For hosts whose domain asks for tokens, the adapters add one to each request. `app` is the app's
    own name for itself in them. `installation` is where the key of this installation is kept: a
    path, a `Signer` that holds it elsewhere, or None for `<store>.key` beside a store that is a
    file, and for this process only without one. `bind` names a field of requests to whose value
    their tokens are bound, `"Authorization"` for instance. With `proof`, a DPoP proof (RFC 9449)
    by the installation's key goes with each token. A request that needs a token and gets none is
    refused (`without_token="refuse"`) or goes without (`"send"`).

    Requests for tokens carry evidence: what each of `evidence` gives, and with `signals` what this
    process says of itself. What comes of it is the server's affair, and not told here.

    Pinning is active as soon as the client exists, by what the store or the bootstrap holds.

    Raises:
        MalformedError, VerificationError: the bootstrap, or `ca`, cannot be used.
        ConfigurationError: a file cannot be read.
    """

    def __init__(
        self,
        bootstrap: str | os.PathLike[str] | bytes | Bootstrap,
        *,
        store: str | os.PathLike[str] | Store | None = None,
        unlisted: Unlisted = "system",
        ca: str | None = None,
        push: bool = True,
        reports: bool = True,
        clock: Clock = utc_now,
        fetcher: Fetcher | None = None,
        app: str = "app",
        installation: str | os.PathLike[str] | Signer | None = None,
        bind: str | None = None,
        proof: bool = False,
        without_token: WithoutToken = "refuse",  # noqa: S107 - no password
        evidence: Sequence[Evidence] = (),
        signals: bool = True,
    ) -> None:
        if unlisted not in ("system", "refuse"):
            raise ConfigurationError(f'expected unlisted "system" or "refuse", found {unlisted!r}')
        if without_token not in ("refuse", "send"):
            raise ConfigurationError(
                f'expected without_token "refuse" or "send", found {without_token!r}'
            )
        if not isinstance(proof, bool):
            raise ConfigurationError(f"expected proof True or False, found {proof!r}")
        if not is_app_name(app):
            raise ConfigurationError(
                f"expected app of 1 to 128 letters, digits, dots, - and _, found {app[:140]!r}"
            )
        self.bind = bind
        self.proof = proof
        self.without_token = without_token
        self._app = app
        self._clock = clock
        self._fetcher = fetcher or HTTPFetcher()
        kept = open_store(store)
        self._installation = Installation(key_source(installation, kept))
        self._proofs = Proofs(self._installation, now=self._service_time)
        loaded = load_bootstrap(bootstrap)
        self._trusted = Trusted(
            loaded,
            kept,
            clock=clock,
            on_change=self._on_change,
            thumbprint=self._installation.existing,
            on_end=self._look_up,
        )
        self._judge = ConfigJudge(self._trusted, clock=clock, unlisted=unlisted)
        held = Held(loaded, self._trusted, self._judge, lambda: self._judgings, clock=clock)
        self._signals = Signals(held.replaced) if signals else None
        self._providers = tuple(evidence)
        self._updater = Updater(self._trusted, self._fetcher, clock=clock)
        self._reports = Reports() if reports else None
        self._use_push = push
        self._closed = False
        self._start_fresh()
        self._anchors = ca
        self._contexts: dict[tuple[str, ...], PinnedContext] = {}
        self._judgings: tuple[Judging, ...] = ()
        self.context()
        self._overrides.tell()
        _clients.add(self)

    # -- for apps -------------------------------------------------------------------------------

    def context(self, *, alpn: Sequence[str] = ()) -> PinnedContext:
        """Return the pinned `SSLContext`: use it wherever a library takes one.

        There is one for all, and one for each offer of application protocols: a library that sets
        its own on the one for all would set them for the others.
        """
        with self._wake:
            found = self._contexts.get(tuple(alpn))
            if found is None:
                found = self._wired(PinnedContext, anchors=self._anchors)
                if alpn:
                    found.set_alpn_protocols(alpn)
                self._contexts[tuple(alpn)] = found
        return found

    def judging(self, kind: type[_J], **options: Any) -> _J:
        """Return a new `Judging` of `kind`, for connections that no context of the client makes."""
        with self._wake:
            return self._wired(kind, **options)

    def refresh(self, *, timeout: float = DEADLINE) -> None:
        """Fetch the newest config now.

        Raises:
            FetchError: neither delivery nor recovery URLs answered.
            VerificationError: what they answered was refused; the active config stays.
        """
        deadline = time.monotonic() + timeout
        error = self._updater.update_anew(timeout=timeout).error
        self._overrides.follow(max(deadline - time.monotonic(), 0.0))
        if error is not None:
            raise error

    async def arefresh(self, *, timeout: float = DEADLINE) -> None:
        """Fetch the newest config now, without blocking the event loop; see `refresh`."""
        import asyncio  # late, as it would double what importing livepin costs

        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: self.refresh(timeout=timeout))

    async def aheal(self, error: PinMismatchError) -> bool:
        """Wait for pins that make the chain of `error` right, without blocking the event loop."""
        import asyncio

        return await asyncio.wrap_future(self.start_healing(error))

    def start_healing(self, error: PinMismatchError) -> Future[bool]:
        """Look for pins that make the chain of `error` right, in a thread; do not wait."""
        return self._healing.start(error, self._check_again(error))

    def heal(self, error: PinMismatchError) -> bool:
        """Wait for pins that make the chain of `error` right, at most five seconds."""
        return self._heal(error, self._check_again(error))

    def domain(self, host: str) -> Domain | None:
        """Return what the active config says of `host`, in any spelling; None if nothing."""
        return self._trusted().lookup(host)

    @property
    def installation_id(self) -> str:
        """The id of this installation, as tokens and operators name it. It makes the key."""
        return installation_id(self._trusted().account, self._installation.key().public.kid)

    @property
    def installation_thumbprint(self) -> str:
        """The thumbprint (RFC 7638) of this installation's key, which an override names.

        It makes the key.
        """
        return self._installation.key().public.kid

    def token(self, host: str, bind: str | bytes | None = None) -> Token:
        """Return a token for `host`, or why there is none; it waits 12 seconds at most.

        `bind` is what the token is bound to, text as UTF-8. The adapters do this by themselves.

        Raises:
            MalformedError: not a host name.
        """
        key = self._token_key(host, bind)
        return _UNPROTECTED if key is None else self._checked(key, self._tokens.get(key))

    async def atoken(self, host: str, bind: str | bytes | None = None) -> Token:
        """Return a token for `host`, without blocking the event loop; see `token`."""
        key = self._token_key(host, bind)
        return _UNPROTECTED if key is None else self._checked(key, await self._tokens.aget(key))

    def needs_token(self, host: str) -> bool:
        """Tell whether the domain that covers `host`, in any spelling, asks for tokens.

        Raises:
            MalformedError: not a host name.
        """
        domain = self._trusted().lookup(host)
        return domain is not None and domain.token

    def prove(self, token: Token, method: str, url: str) -> str:
        """Return a DPoP proof for one request with `token`: a new one for each.

        `url` is that of the request as it is sent; its query is left out. The adapters do this by
        themselves, where `proof` is set.

        Raises:
            ConfigurationError: there is no token.
            MalformedError: not an https URL with a path.
        """
        return self._proofs.make(_value(token), method, url)

    async def aprove(self, token: Token, method: str, url: str) -> str:
        """Return a DPoP proof, without blocking the event loop; see `prove`."""
        return await self._proofs.amake(_value(token), method, url)

    def is_token(self, value: str) -> bool:
        """Tell whether this is a token that this client got, as long as it may be under way."""
        return value in self._tokens.values

    def is_proof(self, value: str) -> bool:
        """Tell whether this is a proof by this client's key."""
        return self._proofs.is_one(value)

    def pins(self, kind: str = "public-key-sha256") -> dict[str, list[str]]:
        """Return the pins in force by pattern, as base64, for other pinning layers.

        A domain of which no pin is in force has one that no key can have: other layers would
        read an empty list as permission.
        """
        if kind != "public-key-sha256":
            raise ConfigurationError(f"expected public-key-sha256, found {kind[:80]!r}")
        state = self._trusted()
        now = state.trusted_now(now=self._clock())
        return {
            domain.pattern: [text.removeprefix(PREFIX) for text in domain.pins.texts(now=now)]
            or [_NO_KEY]
            for domain in state.config.domains
            if domain.mode.value != "off"
        }

    def status(self) -> Status:
        """Return what the client trusts and how it fares."""
        state, now, last = self._trusted(), self._clock(), self._updater.last
        error = None if last is None else last.error
        success = self._updater.last_success
        return Status(
            account=state.account,
            stream=state.stream,
            root_version=state.root.version,
            version=state.config.version,
            issued=state.config.issued,
            expires=state.config.expires,
            stale=state.is_stale(now=now),
            clock_wrong=state.clock_is_wrong(now=now),
            domains=len(state.config.domains),
            last_refresh=None if success is None else time.monotonic() - success,
            last_error=None if error is None else str(error),
            last_error_rule=error.rule if isinstance(error, VerificationError) else None,
            store_problem=self._trusted.problem,
            push=self._push is not None and self._push.connected.is_set(),
            unlisted_hosts=self._judge.unlisted_hosts,
            open_connections=self._open_connections(),
            unreached=tuple(text for each in self._judgings for text in each.unreached()),
            installation_id=self._known_id(),
            installation_problem=self._installation.problem,
            tokens=self._tokens.last,
            override=self._overrides.in_force(),
            override_problem=self._overrides.problem,
            signals=() if self._signals is None else self._signals.texts(),
        )

    def wait_for(self, version: int, *, timeout: float) -> bool:
        """Wait until a config of at least `version` is active; tell whether it is."""
        changed = self._trusted.changed
        with changed:
            return changed.wait_for(
                lambda: self._trusted().config.version >= version, timeout=timeout
            )

    def close(self) -> None:
        """Stop the background threads. Connections stay pinned."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._evidence.stop()
        if self._push is not None:
            self._push.stop()
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join(timeout=5)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- what happens by itself -----------------------------------------------------------------

    def _wired(self, kind: type[_J], **options: Any) -> _J:
        found = kind(
            self._judge,
            healer=self._heal,
            starter=self.start_healing,
            reporter=self._mismatched,
            wanted=self._wanted,
            **options,
        )
        self._judgings += (found,)
        return found

    def _start_fresh(self) -> None:
        """Set up threads and locks: at first, and in a forked child."""
        self._wake = threading.Condition()
        self._due = True
        self._quiet_until = 0.0  # before, no connection makes a refresh due
        self._attempted: float | None = None
        self._retry_at: float | None = None  # while updates fail, or one is under way
        self._backoff = Backoff(_FIRST_RETRY)
        self._worker: threading.Thread | None = None
        self._push: PushListener | None = None
        self._overrides = Overrides(
            self._trusted, self._updater, self._installation, clock=self._clock
        )
        self._healing = Healing(
            lambda timeout: self._updater.update(timeout=timeout, fresh=True),
            self._trusted.changed,
            ask=self._overrides.fetch,
        )
        self._evidence = Gathering(
            self._signals, self._providers, app=self._app, news=lambda: self._tokens.drop()
        )
        fetcher = TokenFetcher(
            self._trusted,
            self._updater,
            self._fetcher,
            self._installation,
            self._overrides,
            app=self._app,
            newer=self._refresh_soon,
            evidence=self._evidence.collect,
        )
        self._tokens = Tokens(fetcher)

    def _after_fork(self) -> None:
        self._trusted.reset_lock()
        self._judge.reset_lock()
        self._installation.reset_lock()
        if self._signals is not None:
            self._signals.reset_lock()
        self._updater = Updater(self._trusted, self._fetcher, clock=self._clock)
        if self._reports is not None:
            self._reports = Reports()
        self._start_fresh()

    def _wanted(self) -> None:
        """A connection is wanted: start the threads, and refresh if that is due."""
        if time.monotonic() < self._quiet_until:
            return
        if self._worker is None:
            self._start_threads()
        elif self._is_due() and not self._due:
            self._make_due()

    def _make_due(self) -> None:
        with self._wake:
            self._due = True
            self._wake.notify()

    def _look_up(self) -> None:
        """Have the thread look what there is to do."""
        with self._wake:
            self._wake.notify()

    def _refresh_soon(self) -> None:
        self._make_due()
        if self._worker is None:
            self._start_threads()

    def _start_threads(self) -> None:
        with self._wake:
            if self._worker is not None or self._closed or is_ending():
                return
            worker = Background(self._work, name="livepin")
            try:
                worker.start()
            except RuntimeError as exc:  # no more threads: the next connection tries again
                logger.warning("the config is not refreshed: %s", exc)
                return
            self._worker = worker
            if self._use_push:
                self._push = PushListener(
                    self._updater,
                    url=self._events_url,
                    stream=self._trusted().stream,
                    known=lambda: self._trusted().order,
                    newer=self._updater.update,
                )
                self._push.start()

    def _work(self) -> None:
        """Refresh when due, and while connections are open; send reports."""
        while True:
            with self._wake:
                if not (self._due or self._closed or self._reports):
                    with resting():
                        self._wake.wait(min(self._until_due(), self._trusted.until_count()))
                due, self._due = self._due, False
                if self._closed:
                    return
            self._trusted.count()
            if due or (self._is_due() and self._open_connections()):
                self._refresh_when_due()
            self._send_reports()

    def _refresh_when_due(self) -> None:
        self._attempted, self._retry_at = time.monotonic(), math.inf
        error = self._updater.update().error
        self._log_outcome(error)
        self._overrides.follow()
        if error is None:
            self._backoff.reset()
            self._retry_at = None
        else:
            self._retry_at = time.monotonic() + self._backoff.pause(self._interval())
        self._quiet_until = self._due_at()
        self._rejudge()  # pins and grace periods end without a newer config

    def _interval(self) -> float:
        return self._trusted().config.refresh_interval.total_seconds()

    def _due_at(self) -> float:
        """Return when a refresh is due, on the monotonic clock."""
        if self._retry_at is not None:
            return self._retry_at
        return 0.0 if self._attempted is None else self._attempted + self._interval()

    def _until_due(self) -> float:
        remaining = self._due_at() - time.monotonic()
        # Due, but idle: the next connection wakes the thread, or was under way just now.
        return remaining if remaining > 0 else min(self._interval(), _IDLE)

    def _is_due(self) -> bool:
        return time.monotonic() >= self._due_at()

    def _rejudge(self) -> int:
        return sum(each.rejudge() for each in self._judgings)

    def _open_connections(self) -> int:
        return sum(each.open_connections for each in self._judgings)

    def _log_outcome(self, error: LivepinError | None) -> None:
        if error is not None:
            logger.warning("the config could not be refreshed: %s", error)

    def _on_change(self) -> None:
        with self._wake:
            self._judge.generation += 1
            self._quiet_until = 0.0
            self._wake.notify()  # the refresh interval may be another one
        closed = self._rejudge()
        state = self._trusted()
        logger.info(
            "config version %d is active, %d connections closed", state.config.version, closed
        )
        self._overrides.tell()

    def _token_key(self, host: str, bind: str | bytes | None) -> Key | None:
        """Return which token is wanted, or None where no domain asks for one."""
        if not self.needs_token(host):
            return None
        data = bind.encode() if isinstance(bind, str) else bind
        return normalise(host), None if data is None else sha256(data).digest()

    def _checked(self, key: Key, token: Token) -> Token:
        """Return the token, or that none is needed by the config that came with the answer."""
        if token.state is TokenState.SUCCESS or self.needs_token(key[0]):
            return token
        return _UNPROTECTED

    def _service_time(self) -> datetime:
        """Return the time of who issues tokens, as far as it is known: that of devices is wrong."""
        told = self._tokens.service_time()
        return self._trusted().trusted_now(now=self._clock()) if told is None else told

    def _known_id(self) -> str | None:
        thumbprint = self._installation.thumbprint
        return None if thumbprint is None else installation_id(self._trusted().account, thumbprint)

    def _check_again(self, error: PinMismatchError) -> Callable[[], bool]:
        chain = tuple(parse_fingerprint(text) for text in error.chain)
        return lambda: passes(self._judge, error.host, chain)

    def _heal(self, error: PinMismatchError, check: Callable[[], bool]) -> bool:
        return self._healing.heal(error, check)

    def _mismatched(self, error: PinMismatchError) -> None:
        if self._reports is not None and self._reports.add(error, now=self._clock()):
            logger.warning("%s", error)
            self._look_up()

    def _events_url(self) -> str:
        state = self._trusted()
        return f"{state.config.delivery.urls[0].rstrip('/')}/v1/{state.account}/events"

    def _send_reports(self) -> None:
        if self._reports is None:
            return
        state = self._trusted()
        url = f"{state.config.delivery.urls[0].rstrip('/')}/v1/{state.account}/reports"
        for report in self._reports.take():
            try:
                request = Request(
                    url=url,
                    context=self._updater.delivery_context(),
                    max_bytes=_REPORT_SIZE,
                    max_compressed=_REPORT_SIZE,
                    timeout=5.0,
                    headers={"Content-Type": "application/json"},
                    body=json.dumps({**report, "stream": state.stream}).encode(),
                )
                self._fetcher.fetch(request)
            except Exception as exc:  # noqa: BLE001 - the thread that refreshes must not end
                logger.debug("a report could not be sent: %r", exc)
                return


_UNPROTECTED = Token(state=TokenState.NOT_PROTECTED)


def _value(token: Token) -> str:
    if token.state is not TokenState.SUCCESS:
        raise ConfigurationError(f"expected a token to prove, found none ({token.state.value})")
    return token.value


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _reset_clients() -> None:
    for client in list(_clients):
        client._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_clients)
