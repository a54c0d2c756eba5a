"""The files of the pod: what an application would have, and a bit of everything that makes files hard."""

import hashlib
import os
import secrets
from typing import Final

from mirrord.targets.sandbox.contract import NAMESPACE, POD, POD_UID, RESOLV_CONF, PodSpec

BIG_SIZE: Final = 100 * 2**20
_BIG_BLOCK: Final = 64 * 2**10
_SECRETS: Final = "/var/run/secrets/kubernetes.io/serviceaccount"

# Made once for this, with a key that was thrown away: programs that insist on parsing it can.
_CA_CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBSTCB8aADAgECAhQqqYigI8nyjqX78RD7Vo0Df73baTAKBggqhkjOPQQDAjAa
MRgwFgYDVQQDDA9taXJyb3JkIHNhbmRib3gwIBcNMjQwMTAxMDAwMDAwWhgPMjEy
NDAxMDEwMDAwMDBaMBoxGDAWBgNVBAMMD21pcnJvcmQgc2FuZGJveDBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABD48aqZDW+HoSUxUscAj1iwTZ5LVAJv/FBQVOCEM
lYu4p1VPudQwLg/BSc4CnRc8SK2FSdbBmIVcIEZ+D88dqDajEzARMA8GA1UdEwEB
/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgTC+8lDFcImCkvKbA35uEW2lz+2yA
EAYqI+yEiO+eZ1QCIFd5tvzu7ay3EgN6P8g9l8uXs1ZG0BfsmlP6BF7rGYmS
-----END CERTIFICATE-----
"""

_ACCOUNTS: Final = {
    "/etc/passwd": f"""\
root:x:0:0:root:/:/bin/sh
app:x:{POD_UID}:{POD_UID}:app:/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
""",
    "/etc/group": f"root:x:0:\napp:x:{POD_UID}:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"
    "protocols: files\n",
}


def _hosts(hostname: str) -> str:
    return f"""\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
{POD.v4}\t{hostname}
{POD.v6}\t{hostname}
"""


def _texts(spec: PodSpec) -> dict[str, str]:
    return {
        **_ACCOUNTS,
        "/etc/hostname": f"{spec.hostname}\n",
        "/etc/hosts": _hosts(spec.hostname),
        "/etc/resolv.conf": RESOLV_CONF,
        "/app/config.yaml": f"name: {spec.hostname}\nmode: sandbox\nfeatures:\n  - environment\n  - files\n",
        "/app/data/name with spaces.txt": "a name with spaces\n",
        f"{_SECRETS}/token": f"{secrets.token_urlsafe(48)}",
        f"{_SECRETS}/namespace": NAMESPACE,
        f"{_SECRETS}/ca.crt": _CA_CERTIFICATE,
        **{f"/app/data/{number:04}.txt": f"file {number:04} of {spec.hostname}\n" for number in range(1000)},
        **spec.files,
    }


def _write(path: str | bytes, content: bytes, *, mode: int = 0o644) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "wb", buffering=0) as file:
        file.write(content)


def big_stamp(hostname: str, block: int) -> bytes:
    """Return the 32 bytes that start the given 64 KiB block of ``big.bin``; the rest of the block is zero."""
    return hashlib.sha256(f"{hostname}:{block}".encode()).digest()


def _write_big(hostname: str) -> None:
    fd = os.open("/app/data/big.bin", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(fd, BIG_SIZE)
        for block in range(BIG_SIZE // _BIG_BLOCK):
            os.pwrite(fd, big_stamp(hostname, block), block * _BIG_BLOCK)
    finally:
        os.close(fd)


def write_all(spec: PodSpec) -> None:
    """Fill the current root, which is the pod's; raises OSError naming the file that cannot be written."""
    os.umask(0o022)
    os.makedirs("/app/data", exist_ok=True)
    _write_big(spec.hostname)
    os.symlink("0000.txt", "/app/data/link")
    _write("/app/data/unreadable", b"nobody may read this\n", mode=0)
    _write(b"/app/data/not-utf-8-\xff\xfe.txt", b"a name that is not UTF-8\n")
    made = {"/app/data"}
    for path, text in _texts(spec).items():
        if (parent := os.path.dirname(path)) not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        _write(path, os.fsencode(text))
