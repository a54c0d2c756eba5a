"""An API server of the tests: it says who asked, and how."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Authority:
    """A certificate authority, with the files that it makes in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.name = _name("authority")
        constraint = (x509.BasicConstraints(ca=True, path_length=None), True)
        self._write("ca", self._signed(self.name, self.key, constraint), self.key)

    def issue(self, name: str, *hosts: str) -> None:
        """Write ``NAME.pem`` and ``NAME.key``."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
            for host in hosts
        ]
        extensions = [(x509.SubjectAlternativeName(names), False)] if names else []
        self._write(name, self._signed(_name(name), key, *extensions), key)

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: tuple[Any, bool]
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self.name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(hours=1),
            not_valid_after=now + timedelta(hours=1),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        pem = serialization.Encoding.PEM
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        plain = serialization.NoEncryption()
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        (self.folder / f"{name}.key").write_bytes(private)

    def context(self, name: str) -> ssl.SSLContext:
        """Return the server's side, which wants the client's certificate if it has one."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _who(request: web.BaseRequest) -> web.Response:
    certificate = request.get_extra_info("peercert")
    common = dict(pair for part in (certificate or {}).get("subject", ()) for pair in part)
    headers = request.headers
    return web.json_response(
        {
            "certificate": common.get("commonName"),
            "authorization": headers.get("authorization"),
            "path": request.raw_path if hasattr(request, "raw_path") else request.path,
            "host": headers.get("host"),
        }
    )


@asynccontextmanager
async def serving(
    context: ssl.SSLContext | None = None,
    *,
    answer: Callable[[web.BaseRequest], web.Response] = _who,
) -> AsyncIterator[int]:
    """Serve on a port of the loopback, and give that."""

    async def handle(request: web.BaseRequest) -> web.Response:
        return answer(request)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
