from mirrord_seccomp.syscalls.model import Arg


def arguments(name: str) -> tuple[Arg, ...]:
    return ()
