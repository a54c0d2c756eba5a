"""A certificate for one run: TLS keeps those who listen on the cluster's network from reading along.

Nobody checks it. The API server's pod proxy does not verify what pods show it
(``k8s.io/kubernetes/pkg/registry/core/pod/rest/subresources.go``); who the two sides are is proved within.
"""

import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirrord-agent")])
_LASTS: Final = timedelta(days=3650)
_SKEW: Final = timedelta(days=1)


def server_context() -> ssl.SSLContext:
    """Return the settings of a TLS server with a fresh key; neither key nor certificate reaches a disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # OpenSSL takes them from files only
    memory = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(memory, _key_and_certificate())
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
    return context


def _key_and_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LASTS)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + certificate.public_bytes(serialization.Encoding.PEM)
