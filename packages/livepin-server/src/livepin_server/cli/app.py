"""The command `livepin` of an operator: the table of commands, and how failures end."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnusedCliTokensError,
)
from livepin.errors import LivepinError

from livepin_server import __version__
from livepin_server.errors import ServiceError, UnavailableError
from livepin_server.lock import DataFolderBusyError

from .output import (
    INTERRUPTED,
    OK,
    REFUSED,
    UNEXPECTED,
    UNREACHABLE,
    USAGE,
    CommandError,
    Kept,
    err,
    out,
    show_error,
)

_LONGEST = 200  # characters of a message that repeats what was typed


def _default(value: object) -> str | None:
    """Return a default as the help shows it: nothing where nothing is the default."""
    return None if value in (False, "", (), None) else str(value)


app = App(
    name="livepin",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=_default),
    help="""Dynamic TLS certificate pinning, self-hosted.

    First steps: livepin init, livepin serve, livepin domain add HOST, livepin bootstrap,
    livepin channel add email NAME --to ADDRESS.

    Exit codes: 0 done; 1 a check found something; 2 wrong usage or input; 3 refused by the
    server; 4 the server, an endpoint or the data folder cannot be reached now; 70 a fault of
    ours; 130 interrupted.

    Variables: LIVEPIN_DATA names the data folder. LIVEPIN_PROFILE names a server by its profile.
    LIVEPIN_URL, LIVEPIN_API_KEY and LIVEPIN_CA name a server elsewhere, a key for it, and its
    tls/ca.pem. NO_COLOR turns colours off.""",
)


def _add(
    name: str, where: str, text: str, *, examples: str | None = None, to: App | None = None
) -> None:
    """Have a command, or a group of them, in the table; `text` is what its help says of it.

    Its module is imported when it is run or explained, and no other is: `root sign` must work
    where there is neither web nor database stack.
    """
    options = {} if examples is None else {"help_epilogue": examples}
    (to or app).command(f"{__package__}.{where}", name=name, help=text, **options)


_add(
    "init",
    "init:init",
    "Make a data folder: database, keys, TLS identity, and a first account with its root key.",
    examples="""Examples:
  livepin init ./livepin-data --account acme --url https://pins.example.com:8443 \\
    --root-key ./acme-root.key
  livepin init ./livepin-data --account acme --url https://pins.example.com:8443 \\
    --root-key ./acme-root.key --database postgresql+psycopg://livepin@db.example.com/livepin
  livepin init ./livepin-data --account acme --url https://pins.example.com:8443 \\
    --root-key ./acme-root.key --alert-email ops@example.com \\
    --smtp smtp+starttls://livepin@mail.example.com --smtp-from livepin@example.com
  livepin init ./trial --account acme --url https://127.0.0.1:8443 --online-root""",
)
_add(
    "serve",
    "server:serve",
    "Serve delivery and management until Ctrl-C or SIGTERM.",
    examples="Example:\n  livepin serve --data ./livepin-data",
)
_add(
    "upgrade",
    "server:upgrade",
    "Bring the database to this version, after a backup. The server must be stopped.",
    examples="Example:\n  livepin upgrade --data ./livepin-data",
)
_add(
    "status",
    "server:status",
    "Show how the server fares. The exit code is 1 if something needs attention.",
    examples="Example:\n  livepin status --json",
)
_add("account", "account:app", "Accounts: each has its own root key, streams and pins.")
_add("custody", "custody:app", "The key under which the server keeps its keys sealed.")
app.command(root := App(name="root", help="Which keys an account trusts, and who signs that."))
_add(
    "show",
    "root:show",
    "Show the newest root: its keys, where they are, and until when it holds.",
    examples="Example:\n  livepin root show",
    to=root,
)
_add(
    "new-key",
    "root_sign:new_key",
    """Make a root key, on the machine where it is to stay, and its public half in FILE.pub.

    In a token it never leaves that, and only FILE.pub is written. Carry that to the server.""",
    examples="""Examples:
  livepin root new-key ./alice.key --account acme
  livepin root new-key ./hsm --account acme --pkcs11-module /usr/lib/softhsm/libsofthsm2.so \\
    --token acme --label acme-root""",
    to=root,
)
_add(
    "prepare",
    "root:prepare",
    """Write a proposal of the next root to a file, to be signed where the root keys are.

    Nothing is in force before it is published. New keys of the server wait there until then.""",
    examples="""Examples:
  livepin root prepare --replace-online --reason 'the server was stolen'
  livepin root prepare --add-key bob.key.pub --threshold 2 --out proposal.json""",
    to=root,
)
_add(
    "sign",
    "root_sign:sign",
    """Sign a proposed root, after showing in words what it says. The file is changed in place.

    It runs without network, server and database. With several root keys the file goes from one
    to the next, until enough have signed.""",
    examples="""Examples:
  livepin root sign proposal.json --key ./alice.key
  livepin root sign proposal.json --pkcs11-module /usr/lib/softhsm/libsofthsm2.so \\
    --token acme --label acme-root""",
    to=root,
)
_add(
    "publish",
    "root:publish",
    "Publish a root that enough root keys have signed, and a config of every stream under it.",
    examples="Example:\n  livepin root publish proposal.json",
    to=root,
)
_add(
    "rotate",
    "root:rotate",
    """Prepare, sign and publish a root in one go, where the root keys are at hand.

    Where the root key is on the server, that signs, and no key is named. With --root-key such an
    account gets a root key that is not on the server any more.""",
    examples="""Examples:
  livepin root rotate --key ./acme-root.key --replace-online
  livepin root rotate --root-key ./acme-root.key --reason 'off the server with it'""",
    to=root,
)
_add(
    "backup",
    "backup:app",
    """Back up a data folder, while its server runs or not.

    It is sealed in the age format: to recipients, or under a passphrase.""",
)
_add(
    "restore",
    "restore:restore",
    """Make a data folder out of a backup. Its server goes on above every version that apps know.

    Stop the lost server for good before. The first start publishes every stream again.""",
    examples="""Examples:
  livepin restore acme.age ./livepin-data --identity backup-identity.txt
  livepin restore acme.age ./livepin-data --passphrase-file words --seen /srv/www/livepin
  livepin restore acme.age ./livepin-data --identity backup-identity.txt \\
    --database postgresql+psycopg://livepin@db.example.com/livepin""",
)
_add("domain", "domain:app", "Which hosts are pinned.")
_add("pin", "pin:app", "The keys that a domain accepts.")
_add("pinset", "pinset:app", "Pins that many domains share, by a name.")
_add("stream", "stream:app", "Lines of configs, of which each app follows one.")
_add("config", "config_files:app", "What was published.")
_add(
    "bootstrap",
    "config:bootstrap",
    "Print what an app embeds: root and config, and with them the delivery URLs. No secret.",
    examples="""Examples:
  livepin bootstrap --out bootstrap.json
  livepin bootstrap --string""",
)
_add("audit", "audit:app", "What was done, by whom, from where and why.")
_add("delivery", "delivery:app", "Where apps fetch their configs.")
_add(
    "diff",
    "stage:diff",
    """Show what publishing the staged changes would do now, and what there is to say against it.

    Nothing is published. The live endpoints are looked at by the server.""",
    examples="""Examples:
  livepin diff
  livepin diff 3 --json""",
)
_add(
    "publish",
    "stage:publish",
    """Publish the staged changes together, now or --at a time.

    What is published is what is shown: if the stage changes meanwhile, it is refused.""",
    examples="""Examples:
  livepin publish --reason 'CHG-1234'
  livepin publish --at 2027-01-31T06:00Z
  livepin publish 3 --approve""",
)
_add(
    "discard",
    "stage:discard",
    "Forget the staged changes. Nothing of them was published.",
    examples="Example:\n  livepin discard",
)
_add("guards", "guards:app", "What a publish is measured by.")
_add("api-key", "api_key:app", "Who may call the management API, what for, and how long.")
_add("token", "token:app", "What stands in tokens, and whether a backend takes one.")
_add("token-key", "token_key:app", "The keys that sign tokens.")
_add("installation", "installation:app", "The apps on devices that ask for tokens.")
_add("policy", "policy:app", "What installations must prove, and what their signals weigh.")
_add("override", "override:app", "One installation unpinned for a while, for a pentest.")
_add("monitor", "monitor:app", "What servers present now, and whether apps accept it.")
_add("incident", "incident:app", "What is wrong, and who takes care of it.")
_add("maintenance", "maintenance:app", "Times in which nobody is told.")
_add("channel", "channel:app", "Who is told, and how.")
app.command(app_group := App(name="app", help="The apps that ask for tokens, and their releases."))
_add(
    "measure",
    "measure:measure",
    """Measure the files of a release: the digest that its installations send as evidence.

    It works without a server. A wheel is measured as what is installed of it.""",
    examples="""Examples:
  livepin app measure dist/shop-1.4-py3-none-any.whl --manifest shop-1.4.manifest
  livepin app measure ./build --json""",
    to=app_group,
)
_add(
    "add",
    "apps:add",
    """Register an app, under the name that it gives itself.

    The server then knows by what its evidence is to be verified. Keys are read from files.""",
    examples="""Examples:
  livepin app add com.example.shop --android-package com.example.shop \\
    --android-certificate 3f:9a:... --play-package com.example.shop \\
    --play-certificate 3f:9a:... --play-service-account play.json
  livepin app add shop-ios --apple-team A1B2C3D4E5 --apple-bundle com.example.shop
  livepin app add orders --workload-profile kubernetes \\
    --workload-issuer https://kubernetes.default.svc --workload-audience livepin \\
    --workload-subject system:serviceaccount:shop:orders --workload-jwks jwks.json
  livepin app add desktop""",
    to=app_group,
)
_add(
    "set",
    "apps:set_",
    """Replace identities of an app. Those of a kind that is not said stay.

    An identity is replaced whole, with its keys.""",
    examples="""Examples:
  livepin app set shop --android-package com.example.shop --android-certificate 3f:9a:...
  livepin app set shop --remove play --reason 'attested by its keys alone'""",
    to=app_group,
)
_add(
    "list",
    "apps:list_",
    "Show the apps, and the highest level that each can prove.",
    examples="Example:\n  livepin app list",
    to=app_group,
)
_add(
    "show",
    "apps:show",
    "Show one app: by what its evidence is known. Its keys are never shown.",
    examples="Example:\n  livepin app show shop",
    to=app_group,
)
_add(
    "remove",
    "apps:remove",
    "Remove an app with its releases. What the policy in force needs is refused.",
    examples="Example:\n  livepin app remove shop --reason 'it is no more'",
    to=app_group,
)
_add(
    "release",
    "releases:app",
    "The releases of an app, of which measured files may be.",
    to=app_group,
)
_add("profile", "profile:app", "Servers that the commands know by name.")
_add(
    "export",
    "export:export_",
    """Print the pins in the format of other software.

    What a format cannot say is declined. Where it protects less, standard error says so.""",
    examples="""Examples:
  livepin export android --out app/src/main/res/xml/network_security_config.xml
  livepin export curl api.example.com --out pins.curl
  livepin export ios api.example.com pay.example.com""",
)
_add(
    "doctor",
    "doctor:doctor",
    """Show the chain of an endpoint, and whether an app with this bootstrap gets through.

    It works without the server, too: where only the library is installed. The exit code is 1 if
    an app would be refused or its config is old, 4 if no chain could be verified.""",
    examples="""Examples:
  livepin doctor https://api.example.com
  livepin doctor api.example.com:8443 --bootstrap bootstrap.json --ca corp-ca.pem""",
)
_add(
    "completion",
    "completion:completion",
    """Print a script with which a shell completes commands, options, choices and files.

    The shell runs nothing of Livepin's for it. Print it anew after an upgrade.""",
    examples="""Examples:
  livepin completion bash > ~/.local/share/bash-completion/completions/livepin
  livepin completion zsh > ~/.zsh/completions/_livepin
  livepin completion fish > ~/.config/fish/completions/livepin.fish""",
)
_add(
    "demo",
    "demo:demo",
    "Start a server, two APIs, an app and an attacker, and show what happens.",
    examples="Example:\n  livepin demo --exit",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    if not os.environ.get("LIVEPIN_DEBUG"):
        logging.getLogger("livepin").addHandler(logging.NullHandler())
    try:
        app(
            arguments,
            console=out(),
            error_console=err(),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except Kept as exc:
        exc.show()
    except CommandError as exc:
        return _failed(exc, exc.code)
    except CycloptsError as exc:
        show_error(_said(exc), f"{' '.join(['livepin', *(exc.command_chain or ())])} --help")
        return USAGE
    except (DataFolderBusyError, UnavailableError) as exc:
        return _failed(exc, UNREACHABLE)
    except ServiceError as exc:
        return _failed(exc, REFUSED)
    except LivepinError as exc:
        return _failed(exc, USAGE)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:  # a person gets one line; LIVEPIN_DEBUG gets everything
        if os.environ.get("LIVEPIN_DEBUG"):
            raise
        show_error(
            f"unexpected: {type(exc).__name__}: {exc}", "with LIVEPIN_DEBUG=1 it shows where"
        )
        return UNEXPECTED
    return OK


def _failed(exc: Exception, code: int) -> int:
    show_error(str(exc), getattr(exc, "hint", None))
    return code


def _said(exc: CycloptsError) -> str:
    """Return a mistake on the command line in a line."""
    if isinstance(exc, MissingArgumentError) and exc.argument is not None:
        name, metavar = exc.argument.name, exc.argument.parameter.metavar
        return f"expected {name} {metavar}" if metavar and name != metavar else f"expected {name}"
    if isinstance(exc, UnusedCliTokensError):
        return f"expected no more arguments, found {' '.join(exc.unused_tokens or ())}"
    text = str(exc).strip().splitlines()[0]
    return text if len(text) <= _LONGEST else f"{text[:80]} ... {text[-100:]}"
