"""What to do about a refusal of the cluster: quotas, policies and webhooks say why, not what would help."""

from typing import Final

_POLICY: Final = (
    "run the agent in a namespace that allows host namespaces and capabilities: `agent.namespace` or "
    "`--agent-namespace`"
)
_REMEDIES: Final = (
    ("violates PodSecurity", _POLICY),
    (" quota: ", "free some of the quota, ask for less by `agent.resources`, or see `agent.namespace`"),
    (" usage per ", "see `agent.resources`, or run the agent in another namespace: `agent.namespace`"),
    ("failed calling webhook", "ask who keeps that webhook, or run the agent elsewhere: `agent.namespace`"),
    ("denied", "ask who keeps that policy, or run the agent in another namespace: `agent.namespace`"),
)
"""By what a refusal has in it: admission plug-ins' and webhooks' words."""


def remedy_for(said: str) -> str:
    """Return what to do about what the cluster has said, nothing where that is not known."""
    return next((remedy for words, remedy in _REMEDIES if words in said), "")
