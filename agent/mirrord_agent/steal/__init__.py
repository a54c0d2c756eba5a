"""Stealing: connections to a port of the target's network namespace are led to the agent, and back."""
