"""Verifiers of evidence, one for each format, and its appraisal. Pure: they read no clock.

What asks a service elsewhere, by `asking`, is handed in. The words are those of RFC 9334. What
each level proves, and what not, is in `docs/evidence.md`.
"""
