"""The live view of a session, at a terminal."""
