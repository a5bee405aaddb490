"""Looking at live endpoints. It stores nothing; commands, guards and monitoring use it."""
