"""What the behaviour tests need around the command: programs, sandboxes, a slow link, a terminal."""
