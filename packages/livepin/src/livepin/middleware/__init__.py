"""What backends check tokens with: `check` for any of them, and one file per framework."""
