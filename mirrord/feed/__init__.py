"""What a session tells those who watch it, over the unix socket in its directory."""
