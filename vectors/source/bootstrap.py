"""The bootstrap: its two forms. What the documents in it must keep is in the rules' cases."""

from __future__ import annotations

import json
from collections.abc import Iterator

from . import documents as d
from .case import Case, start, start_refused
from .keys import b64url


def cases() -> Iterator[Case]:
    """Give the cases."""
    text = d.bootstrap()
    members = json.loads(text)
    one_string = f"livepin:{b64url(text.encode())}"
    unknown = json.dumps({**members, "comment": ["made by hand"]}, indent=2)
    taken = {
        "JSON": text,
        "JSON with white space around and within": f"\n{json.dumps(members, indent=2)}\r\n",
        "JSON with an unknown member": unknown,
        "one string": one_string,
        "one string with white space around": f" {one_string}\n",
    }
    yield Case(
        rule=None,
        name="forms",
        title="A bootstrap is JSON, or one string",
        steps=[start(text, note=note) for note, text in taken.items()],
    )
    refused = {
        "nothing": "",
        "no JSON": "acme",
        "an array": f"[{text}]",
        "cut off": text[:-1],
        "another format": json.dumps({**members, "format": "livepin-bootstrap/2"}),
        "without format": json.dumps({n: v for n, v in members.items() if n != "format"}),
        "without root": json.dumps({n: v for n, v in members.items() if n != "root"}),
        "without config": json.dumps({n: v for n, v in members.items() if n != "config"}),
        "the root as text": json.dumps({**members, "root": json.dumps(members["root"])}),
        "the config as an object": json.dumps({**members, "config": {}}),
        "a config that is not ASCII": json.dumps({**members, "config": "é"}),
        "a member twice": text[:-1] + ',"format":"livepin-bootstrap/1"}',
        "another prefix": f"Livepin:{b64url(text.encode())}",
        "one string with padding": one_string + "=" * (-len(one_string[8:]) % 4 or 4),
        "one string cut off": one_string[:-4],
        "the config alone": members["config"],
    }
    yield Case(
        rule=None,
        name="refused",
        title="What is no bootstrap; no rule has a number here",
        steps=[start_refused(None, text, note=note) for note, text in refused.items()],
    )
