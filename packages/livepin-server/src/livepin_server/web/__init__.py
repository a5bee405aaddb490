"""What the front ends share: problems, limits, authentication."""
