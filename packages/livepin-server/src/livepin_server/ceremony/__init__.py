"""What people sign with root keys: proposals of roots, and what they change. Pure."""
