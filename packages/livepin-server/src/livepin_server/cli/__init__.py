"""The operators' commands: one file a group. They speak the management API, and nothing else."""
