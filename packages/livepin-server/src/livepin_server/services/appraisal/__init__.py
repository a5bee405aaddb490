"""Appraisal of installations: the policy, what evidence proved and claimed, and the verdicts."""
