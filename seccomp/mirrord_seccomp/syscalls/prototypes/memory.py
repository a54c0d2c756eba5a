"""Calls on the address space, and on System V shared memory."""

from typing import Final

PROTOTYPES: Final = {
    "brk": "addr:POINTER",
    "mmap": "addr:POINTER length:SIZE prot:FLAGS flags:FLAGS fd:FD offset:OFFSET",
    "munmap": "addr:POINTER length:SIZE",
    "mremap": "old_address:POINTER old_size:SIZE new_size:SIZE flags:FLAGS new_address:POINTER",
    "remap_file_pages": "addr:POINTER size:SIZE prot:FLAGS pgoff:OFFSET flags:FLAGS",
    "mprotect": "addr:POINTER len:SIZE prot:FLAGS",
    "pkey_mprotect": "addr:POINTER len:SIZE prot:FLAGS pkey:INT",
    "pkey_alloc": "flags:FLAGS access_rights:FLAGS",
    "pkey_free": "pkey:INT",
    "mseal": "addr:POINTER len:SIZE flags:FLAGS",
    "map_shadow_stack": "addr:POINTER size:SIZE flags:FLAGS",
    "memfd_secret": "flags:FLAGS",
    "msync": "addr:POINTER length:SIZE flags:FLAGS",
    "mincore": "addr:POINTER length:SIZE vec:POINTER",
    "madvise": "addr:POINTER length:SIZE advice:ADVICE",
    "process_madvise": "pidfd:FD iovec:POINTER n:INT advice:ADVICE flags:FLAGS",
    "mlock": "addr:POINTER len:SIZE",
    "mlock2": "addr:POINTER len:SIZE flags:FLAGS",
    "munlock": "addr:POINTER len:SIZE",
    "mlockall": "flags:FLAGS",
    "munlockall": "",
    "cachestat": "fd:FD range:POINTER cstat:POINTER flags:FLAGS",
    # NUMA
    "mbind": "addr:POINTER len:SIZE mode:FLAGS nodemask:POINTER maxnode:INT flags:FLAGS",
    "get_mempolicy": "mode:POINTER nodemask:POINTER maxnode:INT addr:POINTER flags:FLAGS",
    "set_mempolicy": "mode:FLAGS nodemask:POINTER maxnode:INT",
    "set_mempolicy_home_node": "start:POINTER len:SIZE home_node:INT flags:FLAGS",
    "migrate_pages": "pid:PID maxnode:INT old_nodes:POINTER new_nodes:POINTER",
    "move_pages": "pid:PID count:INT pages:POINTER nodes:POINTER status:POINTER flags:FLAGS",
    # Of another process
    "process_vm_readv": ("pid:PID local_iov:POINTER liovcnt:INT remote_iov:POINTER riovcnt:INT flags:FLAGS"),
    "process_vm_writev": ("pid:PID local_iov:POINTER liovcnt:INT remote_iov:POINTER riovcnt:INT flags:FLAGS"),
    "process_mrelease": "pidfd:FD flags:FLAGS",
    # Shared
    "shmget": "key:INT size:SIZE shmflg:FLAGS",
    "shmat": "shmid:INT shmaddr:POINTER shmflg:FLAGS",
    "shmdt": "shmaddr:POINTER",
    "shmctl": "shmid:INT op:COMMAND buf:POINTER",
}
