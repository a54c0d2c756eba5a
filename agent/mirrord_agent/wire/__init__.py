"""The wire protocol between the supervisor and the agent; both sides import it, and it imports neither."""
