"""Shows what a session tells: events, lines, a summary."""
