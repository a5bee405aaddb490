"""livepin audit verify: whether the log is what it was, and what proves it.

The walk along the entries and the signatures are `services.audit`'s part; here are files, pages
and words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from livepin.bootstrap import MAX_SIZE, Bootstrap

from livepin_server.errors import TamperedError
from livepin_server.services.audit import SERVER
from livepin_server.services.audit.chain import LONGEST_LINE, Proven, Seal, Walk, account_of, name
from livepin_server.services.audit.seals import Roots, kept

from .api import Api, Common, connected
from .output import FOUND, CommandError, counted, minute, say, show_json, warn, working

EXAMPLES = """Examples:
  livepin audit verify
  livepin audit verify --bootstrap app/bootstrap.json --config config-from-the-cdn
  livepin audit verify --server
  livepin audit verify acme.jsonl --bootstrap app/bootstrap.json"""
_DEFAULTS = Common()
_AT_A_TIME = 10_000  # entries until progress is shown again
_MOST_SHOWN = 5  # of what proves a log


def verify(
    *file: Annotated[
        Path,
        Parameter(name="FILE", help="Exported logs, whole or in parts; else the server is asked."),
    ],
    config: Annotated[
        tuple[Path, ...],
        Parameter(metavar="FILE", help="A config from elsewhere; may be given again."),
    ] = (),
    bootstrap: Annotated[
        tuple[Path, ...],
        Parameter(metavar="FILE", help="A bootstrap from elsewhere; may be given again."),
    ] = (),
    server: Annotated[
        bool, Parameter(name="--server", help="The server's own log, too: the account's proves it.")
    ] = False,
    common: Common = _DEFAULTS,
) -> None:
    """Verify that no entry was changed, removed or put in, and say how far that is proven.

    Each entry must follow from the one before, and each signed config must carry the digest of the
    entry that published it. The configs that the server keeps show what was done to its database;
    one from an app, a cache or a recovery URL shows what was done by the server itself. The exit
    code is 1 if something does not hold.
    """
    if file and server:
        raise CommandError(
            "expected files or --server", hint="give the server's log as a file, too"
        )
    brought = _Brought(bootstrap, config)
    walks: list[Walk] = []
    try:
        if file:
            _in_files(file, brought, walks)
        else:
            with connected(common) as api:
                _over_api(api, brought, walks)
                if server:
                    _server_over_api(api, walks)
    except TamperedError as exc:
        if common.json:
            logs = [_members(each) for each in walks]
            show_json({"holds": False, "error": str(exc), "hint": exc.hint, "logs": logs})
        else:
            for each in walks:
                _show(each)
        raise CommandError(str(exc), hint=exc.hint, code=FOUND) from exc
    if common.json:
        show_json({"holds": True, "logs": [_members(each) for each in walks]})
        return
    for each in walks:
        _show(each)
        if each.account != SERVER and not each.proven:
            say("  Only a config from elsewhere shows whether the server itself wrote it anew:")
            say("  --config or --bootstrap, from an app, a cache or a recovery URL.")


class _Brought:
    """What a person brings from elsewhere: signed, and so known before anything is asked."""

    def __init__(self, bootstraps: Sequence[Path], configs: Sequence[Path]) -> None:
        self.roots = Roots()
        self._bootstraps = {path: Bootstrap.parse(_read(path)) for path in bootstraps}
        self._configs = {path: _read(path).strip() for path in configs}

    def anchor(self) -> None:
        """Trust the roots of the bootstraps: no server can exchange them."""
        for path, each in self._bootstraps.items():
            self.roots.add(each, where=str(path))

    def seals(self) -> Iterator[Seal]:
        """Give the heads; the roots that vouch for them must be known."""
        documents = {path: each.config for path, each in self._bootstraps.items()} | self._configs
        for path, raw in documents.items():
            seal = self.roots.seal(raw, where=str(path))
            if seal is None:
                warn(f"{path} carries no head: it is from before there was an audit log")
            else:
                yield seal


# -- the server is asked -------------------------------------------------------------------------


def _over_api(api: Api, brought: _Brought, walks: list[Walk]) -> None:
    """Verify the log of the account that is meant."""
    roots, path = brought.roots, f"{api.base}/audit"
    roots.account = api.account
    brought.anchor()
    pages = _signed(api, path)
    first = next(pages)
    # The oldest config is signed under the first root, and each root by the one before.
    oldest, *later = (each.encode() for each in first["roots"])
    start = Bootstrap(root=oldest, config=first["configs"][0]["document"].encode())
    roots.add(start, later, where="the server")
    seals = kept(roots, _documents(first, pages))
    walks.append(Walk(api.account, kept=seals, seals=brought.seals()))
    _walk_over_api(api, path, walks[-1])


def _server_over_api(api: Api, walks: list[Walk]) -> None:
    """Verify the log of the server, whose heads the entries of the account name."""
    walks.append(Walk(SERVER, seals=_in_entries(walks)))
    _walk_over_api(api, "/v1/audit", walks[-1])


def _walk_over_api(api: Api, path: str, walk: Walk) -> None:
    def lines() -> Iterator[bytes]:
        after = walk.number
        while page := api.fetch(f"{path}/entries", after=after):
            yield from page.splitlines(keepends=True)
            after += page.count(b"\n")

    before = -1
    while before < walk.number:  # as long as something is published meanwhile
        before = walk.number
        _take(walk, lines())
        if not walk.is_behind():
            break
    walk.end()


def _signed(api: Api, path: str) -> Iterator[dict[str, Any]]:
    """Give what was signed, page by page; what is published meanwhile, too."""
    page = api.call("GET", f"{path}/signed", after=0)
    while page["configs"]:
        yield page
        page = api.call("GET", f"{path}/signed", after=page["configs"][-1]["version"])


def _documents(
    first: dict[str, Any], later: Iterator[dict[str, Any]]
) -> Iterator[tuple[int, bytes]]:
    for page in chain((first,), later):  # each when it is needed: by then there may be more
        for each in page["configs"]:
            yield each["version"], each["document"].encode()


# -- exported files ------------------------------------------------------------------------------


def _in_files(files: Sequence[Path], brought: _Brought, walks: list[Walk]) -> None:
    """Verify the logs in these files; that of the server last, for the others name its heads."""
    brought.anchor()
    seals = list(brought.seals())
    logs: dict[str, list[Path]] = {}
    for path in files:
        logs.setdefault(_whose(path), []).append(path)
    whose = brought.roots.account
    if whose is not None and whose not in logs:
        raise CommandError(
            f"no file holds the log of {name(whose)}, which is brought something to prove it",
            hint=f"export it: livepin audit export --account {whose} --out FILE",
        )
    for account in sorted(logs, reverse=True):
        of_log = _in_entries(walks) if account == SERVER else seals if account == whose else ()
        walks.append(Walk(account, seals=of_log))
        _take(walks[-1], (line for path in logs[account] for line in _lines(path)))
        walks[-1].end()


def _whose(path: Path) -> str:
    line = next(_lines(path), None)
    if line is None:
        raise CommandError(f"{path} is empty", hint="expected what livepin audit export gives")
    return account_of(line)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                yield line
    except OSError as exc:
        raise CommandError(f"cannot read {path}: {exc.strerror}") from exc


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE)
    except OSError as exc:
        raise CommandError(f"cannot read {path}: {exc.strerror}") from exc


# -- both ----------------------------------------------------------------------------------------


def _take(walk: Walk, lines: Iterable[bytes]) -> None:
    left = iter(lines)
    with working(f"verifying the audit log of {name(walk.account)}"):
        while some := list(islice(left, _AT_A_TIME)):
            with working(f"verified {walk.number} entries of {name(walk.account)}"):
                for line in some:
                    walk.take(line)


def _in_entries(walks: Iterable[Walk]) -> Iterator[Seal]:
    """Give the heads of the server's log that entries of accounts name."""
    for walk in walks:
        for head, number in walk.servers.items():
            yield Seal(head=head, where=f"entry {number} of {name(walk.account)}")


def _members(walk: Walk) -> dict[str, Any]:
    return {
        "account": walk.account,
        "entries": walk.number,
        "head": walk.head,
        "configs": walk.configs,
        "kept": walk.kept,
        "proven": walk.proven,
    }


def _show(walk: Walk) -> None:
    """Say what holds, and what proves it up to which entry and when."""
    whose = name(walk.account)
    say(f"{counted(walk.number, 'entry', 'entries')} of {whose}, each follows from the one before")
    if walk.kept is not None:
        what = f"{counted(walk.configs, 'config')} that the server keeps"
        say(f"  {what}: proven up to entry {_upto(walk.kept)}")
    for each in walk.proven[-_MOST_SHOWN:]:
        say(f"  {each.by}: proven up to entry {_upto(each)}")


def _upto(proven: Proven) -> str:
    return f"{proven.entry}, {minute(proven.moment.isoformat())}"
