"""All services of the cluster side."""

import functools

from mirrord.targets.sandbox.contract import POD, POD_PORT, SERVICES
from mirrord.targets.sandbox.services import dns
from mirrord.targets.sandbox.services.address import serve_tcp
from mirrord.targets.sandbox.services.echo import EchoStream, serve_datagrams, swallow
from mirrord.targets.sandbox.services.forward import Forwarder
from mirrord.targets.sandbox.services.http import HttpServer


async def serve() -> list[object]:
    """Start the services in this network namespace; they last as long as the result. Raises OSError."""
    echo, web = SERVICES["echo"], SERVICES["web"]
    forwarder = functools.partial(Forwarder, str(POD.v4), POD_PORT)
    # Nothing is at port 9 of echo: connections to it are refused.
    return [
        *await serve_tcp(echo, 80, functools.partial(HttpServer, "echo")),
        *await serve_tcp(echo, 7, EchoStream),
        *serve_datagrams(echo, 7),
        *swallow(echo, 10),
        *serve_datagrams(SERVICES["db"], 7),
        *await serve_tcp(web, 80, forwarder),
        *await serve_tcp(web, POD_PORT, forwarder),
        *await dns.serve(),
    ]
