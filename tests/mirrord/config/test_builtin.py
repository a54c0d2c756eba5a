import pytest

from mirrord.config.builtin import BuiltIn

LISTS = BuiltIn(cwd=b"/projects/app", home=b"/root", tmpdir=b"/scratch/", executable=b"/data/server")


@pytest.mark.parametrize(
    "path",
    [
        *(
            b"/proc/self",
            b"/sys",
            b"/lib/x",
            b"/lib64/ld.so",
            b"/etc/passwd",
            b"/usr",
            b"/home/x",
            b"/bin/sh",
        ),
        *(
            b"/sbin/x",
            b"/dev/null",
            b"/opt/x",
            b"/tmp/x",
            b"/var/tmp/x",
            b"/snap",
            b"/run/secrets/x",
            b"/selinux",
        ),
        *(b"/nix/store", b"/Program Files/x", b"/var/db/timezone/zoneinfo/Europe", b"/"),
        *(
            b"/app/main.py",
            b"/app/x.JAR",
            b"/app/libx.so",
            b"/app/libx.so.1.2",
            b"/app/conf.d",
            b"/x/pyvenv.cfg",
        ),
        *(
            b"/app/package.json",
            b"/app/.yarnrc.yml",
            b"/app/.tool-versions",
            b"/app/node_modules/x/y",
            b"/a.asdf/x",
        ),
        *(
            b"/x/clr-debug-pipe-1",
            b"/projects/app",
            b"/projects/app/data",
            b"/scratch/x",
            b"/data/server",
            b"/root/.bashrc",
        ),
    ],
)
def test_local(path: bytes) -> None:
    assert LISTS.local(path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            b"/app",
            b"/library/x",
            b"/etcetera",
            b"/var/run/secrets/x",
            b"/var/tmpfile",
            b"/app/x.song",
            b"/app/sh",
        ),
        *(
            b"/projects/application",
            b"/data/server2",
            b"/root/x",
            b"/app/package.json.bak",
            b"/rooted/.x",
            b"/app/.d/x",
        ),
    ],
)
def test_not_local(path: bytes) -> None:
    assert LISTS.local(path) is None


@pytest.mark.parametrize(
    "path", [b"/etc/hosts", b"/etc/resolv.conf", b"/etc/hostname", b"/etc/ssl/certs/ca.pem"]
)
def test_remote(path: bytes) -> None:
    assert LISTS.remote(path)


@pytest.mark.parametrize(
    "path", [b"/etc/hosts.allow", b"/x/etc/hosts", b"/etc/ssl/certsx", b"/etc/ssl/private/k"]
)
def test_not_remote(path: bytes) -> None:
    assert LISTS.remote(path) is None


def test_the_credentials_of_the_home_directory_are_absent() -> None:
    assert LISTS.absent(b"/root/.kube/config")
    assert LISTS.absent(b"/root/.config/gcloud")
    assert LISTS.absent(b"/app/.kube/config") is None


def test_without_a_home_and_in_the_root_directory_nothing_more_is_local() -> None:
    bare = BuiltIn(cwd=b"/", home=None, tmpdir=b"/", executable=None)
    assert bare.local(b"/app/x") is None
    assert bare.absent(b"/.kube/config") is None


def test_a_home_in_the_root_directory_has_hidden_entries_of_its_own() -> None:
    assert BuiltIn(cwd=b"/", home=b"/", tmpdir=b"/tmp", executable=None).absent(b"/.kube/config")
