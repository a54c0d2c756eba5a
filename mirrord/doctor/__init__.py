"""``mirrord doctor``: tries what a session needs, each thing in a process of its own, and says what works."""
