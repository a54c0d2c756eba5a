"""Seccomp for supervisors: system call tables, a BPF compiler, the user notification interface.

No dependencies.

* :mod:`mirrord_seccomp.syscalls`: numbers, names and prototypes of x86-64 and AArch64.
* :mod:`mirrord_seccomp.bpf`: rules to a classic BPF program, and back to text.
* :mod:`mirrord_seccomp.load`: seccomp(2) itself.
* :mod:`mirrord_seccomp.notify`: receiving notifications on a listener and answering them.
"""
