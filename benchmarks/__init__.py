"""What Livepin costs, measured against a reference in the same run."""
