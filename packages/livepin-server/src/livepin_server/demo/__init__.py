"""The demonstration: real processes, real TLS, and an attacker in between."""
