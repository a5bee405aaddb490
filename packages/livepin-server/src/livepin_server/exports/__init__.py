"""What leaves the server in other forms than its own documents."""
