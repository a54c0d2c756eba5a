"""Mirror: copy what clients send to a port, without touching their connections."""
