"""Calls as people read them, in the manner of strace(1)."""
