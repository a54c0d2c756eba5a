"""A connection that is not looked into: bytes pass between the client and one server."""

from typing import Final

from mirrord_agent.http.output import (
    FinClient,
    FinServer,
    Forget,
    Output,
    ResetClient,
    Server,
    ToClient,
    ToServer,
)


class Opaque:
    """One client that speaks something else."""

    undecided: Final = False
    waits_for_body: Final = False
    full: Final = False

    def __init__(self, server: Server) -> None:
        self._server: Final = server

    def client_data(self, data: bytes) -> list[Output]:
        """Take what the client wrote."""
        return [ToServer(self._server, data)]

    def client_eof(self) -> list[Output]:
        """The client writes no more."""
        return [FinServer(self._server)]

    def server_data(self, server: Server, data: bytes) -> list[Output]:
        """Take what the server wrote."""
        return [ToClient(data)] if server == self._server else []

    def server_eof(self, server: Server) -> list[Output]:
        """The server writes no more."""
        return [FinClient()] if server == self._server else []

    def server_lost(self, server: Server, reason: str) -> list[Output]:
        """The server could not be reached, or has reset its connection."""
        return [Forget(server), ResetClient()] if server == self._server else []

    def give_up(self) -> list[Output]:
        """Decide now: there is nothing to decide."""
        return []
