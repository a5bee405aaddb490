"""OkHttp: the code of a CertificatePinner, in Java."""

from __future__ import annotations

from collections.abc import Sequence

from .entry import DeclinedError, Entry, Rendered, fixed, folded, overlapping

_WHAT = "OkHttp's CertificatePinner"
_NOTES = (
    "only clients that are built with this pinner are pinned; wildcards need OkHttp 4.3",
    "hosts that it does not name are not pinned",
)


def render(entries: Sequence[Entry]) -> Rendered:
    """Return the code. OkHttp takes the pins of every pattern that covers a host: none may add."""
    pinned = fixed(entries, _WHAT)
    for each, wider in overlapping(pinned):
        raise DeclinedError(
            f"{_WHAT} would take the pins of {wider.pattern} for {each.pattern} as well",
            hint="export them apart, for clients of their own",
        )
    lines = ["CertificatePinner pinner = new CertificatePinner.Builder()"]
    for each, wide in folded(pinned, _WHAT):
        name = f"**.{each.pattern}" if wide else each.pattern
        lines.append(f'    .add("{name}",')
        lines.append(",\n".join(f'        "sha256/{found}"' for found in each.hashes) + ")")
    return Rendered(text="\n".join([*lines, "    .build();"]), notes=_NOTES)
