"""What tokens cost an app: one that is held, a request that carries one, and asking anew.

Requests go through httpx on a kept connection to one TLS server in another process, by three
clients in turns; the domain of two asks for tokens, and one of these adds a proof to each. Medians,
in CPU time of this thread. Asking anew is what an app computes for it: a signature, and the answer
read.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
from livepin import jsontext
from livepin.adapters.httpx import PinnedTransport
from livepin.client.token_answer import TokenAnswer
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey
from livepin.testing import Chain, DeliverySimulator, make_chain

from .api import Api

BUDGET = "none of its own; a token that is held is a look into a dictionary, a proof a signature"

_HOST = "127.0.0.1"
_TIMES = 2_000


def run() -> dict[str, float]:
    """Return microseconds."""
    chain = make_chain(_HOST)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        api = stack.enter_context(Api(Path(folder), chain))
        url = f"https://{_HOST}:{api.ports['https']}/"
        plain, protected = (_delivery(chain, token=token) for token in (False, True))
        clients = [
            stack.enter_context(each.client(ca=chain.authority.pem, proof=proof))
            for each, proof in ((plain, False), (protected, False), (protected, True))
        ]
        without, having, proving = (
            stack.enter_context(httpx.Client(transport=PinnedTransport(each))) for each in clients
        )
        spent = [
            tuple(_spent(lambda http=http: http.get(url)) for http in (without, having, proving))
            for _ in range(_TIMES)
        ]
        held = _median(lambda: clients[1].token(_HOST))
    base = statistics.median(each[0] for each in spent)
    return {
        "a request without tokens µs": round(base * 1e6, 1),
        "a token adds µs": round(statistics.median(b - a for a, b, _ in spent) * 1e6, 1),
        "a proof adds µs": round(statistics.median(c - b for _, b, c in spent) * 1e6, 1),
        "a token that is held µs": round(held * 1e6, 1),
        "asking anew µs": round(_median(_asking()) * 1e6, 1),
    }


def _delivery(chain: Chain, *, token: bool) -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(_HOST, chain.pin, token=token)
    return found


def _asking() -> Callable[[], object]:
    key = PrivateKey.generate()
    request = TokenRequest(
        account="acme", app="app", key=key.public, challenge="c" * 43, stream="main",
        root_version=1, config_version=1, hosts={_HOST: None},
    )  # fmt: skip
    token = {"header": "Livepin-Token", "token": "t" * 600, "lives": 295}
    answer = jsontext.dump(
        {
            "challenge": "c" * 43, "tokens": {_HOST: token}, "config": None, "override": None,
            "newest": {"root_version": 1, "version": 1},
        }
    )  # fmt: skip
    return lambda: (request.signed(key), TokenAnswer.parse(answer))


def _median(one: Callable[[], object]) -> float:
    gc.disable()
    try:
        return statistics.median(_spent(one) for _ in range(_TIMES))
    finally:
        gc.enable()


def _spent(one: Callable[[], object]) -> float:
    began = time.thread_time()
    one()
    return time.thread_time() - began
