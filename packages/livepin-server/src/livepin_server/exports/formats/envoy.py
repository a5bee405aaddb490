"""Envoy: the transport socket of an upstream cluster, with verify_certificate_spki."""

from __future__ import annotations

from collections.abc import Sequence

from livepin.hostnames import is_address

from .entry import DeclinedError, Entry, Rendered, exact, fixed, leaves

CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
_WHAT = "Envoy"
_NOTES = (
    "Envoy matches the leaf only",
    "beside verify_certificate_hash, either of the two would be enough: do not add it",
    f"trusted_ca names {CA_FILE}: change it where the CAs are elsewhere",
)
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def render(entries: Sequence[Entry]) -> Rendered:
    """Return the YAML. Chain and name are verified as well: a pin does not replace them.

    No session is resumed: Envoy would not look at the certificate again.
    """
    pinned = fixed(entries, _WHAT)
    exact(pinned, _WHAT)
    if len(pinned) > 1:
        raise DeclinedError(
            "Envoy has a transport socket for each cluster, and these are several domains",
            hint="export them one by one",
        )
    entry, left_out = leaves(pinned[0], _WHAT)
    address = is_address(entry.pattern)
    lines = [
        "transport_socket:",
        "  name: envoy.transport_sockets.tls",
        "  typed_config:",
        f'    "@type": {_TYPE}',
        *([] if address else [f'    sni: "{entry.pattern}"']),
        "    max_session_keys: 0",
        "    common_tls_context:",
        "      validation_context:",
        "        trusted_ca:",
        f"          filename: {CA_FILE}",
        "        match_typed_subject_alt_names:",
        f"        - san_type: {'IP_ADDRESS' if address else 'DNS'}",
        "          matcher:",
        f'            exact: "{entry.pattern}"',
        "        verify_certificate_spki:",
        *(f'        - "{found}"' for found in entry.hashes),
    ]
    return Rendered(text="\n".join(lines), notes=(*_NOTES, *left_out))
