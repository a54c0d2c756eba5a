"""Targets in a Kubernetes cluster: a pod is chosen, and a Job puts an agent beside it.

The way of a session: ``access`` reads the kubeconfig and turns the API's refusals into sentences; ``choose``
finds the pod and the container; ``manifest`` writes the Job; ``job`` creates it, waits for its agent, and
deletes it; ``forward`` is the connection through the API server. The ``kubernetes`` package takes half a
second to import: nothing outside of this package may import it.
"""
