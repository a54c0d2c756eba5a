"""What the agent itself can fail with; what the target's calls fail with are errnos."""


class AgentError(Exception):
    """Raised when the agent cannot start; the text is a sentence for people."""
