"""The files that the pod starts with."""

import base64
import json
import os
from pathlib import Path
from typing import Final

from mirrord.targets.sandbox import contract

CONFIG: Final = """\
# The settings of the sandbox's application.
name: {hostname}
greeting: {greeting}
listen: 0.0.0.0:8080
database: postgres://db.default.svc.cluster.local:5432/app
upstream: http://echo
"""

BIG_SIZE: Final = 100 * 1024 * 1024
BIG_BLOCK: Final = 64 * 1024
"""Each block of ``big.bin`` begins with random bytes, so that no two are equal; the rest are holes, which cost nothing."""
_STAMP: Final = 32
_SMALL_FILES: Final = 1000

_SECRETS: Final = "/var/run/secrets/kubernetes.io/serviceaccount"

_CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBjDCCATGgAwIBAgIUU4KfBB8j5auom15gV8ipw7pex1QwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPbWlycm9yZCBzYW5kYm94MCAXDTI2MTEyNDAzNTI1NVoYDzIx
MjYxMDMxMDM1MjU1WjAaMRgwFgYDVQQDDA9taXJyb3JkIHNhbmRib3gwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAAQB41rUBQ+c0/IQIQZbyLUZ83nWa77qM/6G0Uwb
TeAS3HEDgmzp13Tj4g8mLg8MBgJxwKNwrNkegzzEHCSSpJ+Vo1MwUTAdBgNVHQ4E
FgQUCcl7J1JCAVZC7Qyxbefz6KR5wVQwHwYDVR0jBBgwFoAUCcl7J1JCAVZC7Qyx
befz6KR5wVQwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA0MoL
YR6Co40g8iK2wNFxiEQme7s9dBPUedczUTzVrD8CIQCMefTJOrveLMnmvbWBjuaP
Dpv69svq0mOd6voFDwyWfA==
-----END CERTIFICATE-----
"""
"""A certificate of nobody: its key was thrown away when it was made."""

_RESOLV_CONF: Final = f"""\
search {" ".join(contract.SEARCH)}
nameserver {contract.DNS.v4}
options ndots:5
"""

_HOSTS: Final = f"""\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
{contract.POD_V4}\t{{hostname}}
{contract.POD_V6}\t{{hostname}}
"""

_PASSWD: Final = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""

_GROUP: Final = """\
root:x:0:
app:x:1000:
nogroup:x:65534:
"""

_NSSWITCH: Final = """\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
"""


def resolv_conf() -> bytes:
    """Return the resolver's settings in the pod, and for whoever joins the cluster's network."""
    return _RESOLV_CONF.encode()


def write(settings: contract.Settings) -> None:
    """Write all files of the pod, those of ``settings`` last; the root directory is the pod's already. Raises OSError."""
    _write_etc(settings.hostname)
    _write_application(settings)
    _write_service_account(settings.hostname)
    for path, text in settings.files.items():
        _write(path, os.fsencode(text))


def _write_etc(hostname: str) -> None:
    files = {
        "resolv.conf": _RESOLV_CONF,
        "hosts": _HOSTS.format(hostname=hostname),
        "hostname": f"{hostname}\n",
        "passwd": _PASSWD,
        "group": _GROUP,
        "nsswitch.conf": _NSSWITCH,
    }
    for name, text in files.items():
        _write(f"/etc/{name}", text.encode())


def _write_application(settings: contract.Settings) -> None:
    greeting = settings.environment["GREETING"]
    config = CONFIG.format(hostname=settings.hostname, greeting=json.dumps(greeting))
    _write("/app/config.yaml", config.encode())
    os.mkdir("/app/data")
    for number in range(_SMALL_FILES):
        _write(f"/app/data/{number:04}.txt", f"file {number} of {settings.hostname}\n".encode())
    _write_big("/app/data/big.bin")
    os.symlink("0000.txt", "/app/data/link")
    _write("/app/data/unreadable", b"nobody reads this\n", mode=0)
    _write("/app/data/a name with spaces.txt", b"spaces\n")
    _write(b"/app/data/caf\xe9.txt", b"a name in Latin-1\n")


def _write_big(path: str) -> None:
    stamps = os.urandom(_STAMP * (BIG_SIZE // BIG_BLOCK))
    with open(path, "xb", buffering=0) as file:
        file.truncate(BIG_SIZE)
        for block in range(BIG_SIZE // BIG_BLOCK):
            os.pwrite(file.fileno(), stamps[block * _STAMP : (block + 1) * _STAMP], block * BIG_BLOCK)


def _write_service_account(hostname: str) -> None:
    """Lay the secret out as the kubelet does: links to a directory that is replaced as a whole."""
    version = f"{_SECRETS}/..2024_01_01_00_00_00.000000001"
    files = {"token": _token(hostname), "namespace": contract.NAMESPACE, "ca.crt": _CERTIFICATE}
    for name, text in files.items():
        _write(f"{version}/{name}", text.encode())
        os.symlink(f"..data/{name}", f"{_SECRETS}/{name}")
    os.symlink(os.path.basename(version), f"{_SECRETS}/..data")


def _token(hostname: str) -> str:
    """Return what looks like a service account's token, with a random signature that nobody made."""
    subject = f"system:serviceaccount:{contract.NAMESPACE}:{hostname}"
    parts = (b'{"alg":"ES256","typ":"JWT"}', json.dumps({"sub": subject}).encode(), os.urandom(64))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _write(path: str | bytes, content: bytes, *, mode: int = 0o644) -> None:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        Path(os.fsdecode(directory)).mkdir(parents=True)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "wb", buffering=0, closefd=False) as file:
            file.write(content)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
