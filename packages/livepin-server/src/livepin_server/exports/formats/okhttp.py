"""OkHttp: the code of a CertificatePinner, in Java."""

from __future__ import annotations

from collections.abc import Sequence

from .entry import DeclinedError, Entry, Rendered, fixed, folded, overlapping

_WHAT = "OkHttp's CertificatePinner"
_NOTES = (
    "only clients that are built with this pinner are pinned",
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
    notes = [*_NOTES]
    for each, wide in folded(pinned, _WHAT):
        name = _name(each.pattern, wide=wide)
        if wide:
            old = f"OkHttp before 4.3 takes {name} and pins nothing"
            lines.append(f"    // {old}")
            notes.append(old)
        lines.append(f'    .add("{name}",')
        lines.append(",\n".join(f'        "sha256/{found}"' for found in each.hashes) + ")")
    return Rendered(text="\n".join([*lines, "    .build();"]), notes=tuple(notes))


def _name(pattern: str, *, wide: bool) -> str:
    if wide:
        return f"**.{pattern}"
    # Before 4.3 an address of IPv6 had to be in brackets, and later ones may be.
    return f"[{pattern}]" if ":" in pattern else pattern
