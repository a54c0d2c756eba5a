"""The sandbox: a small pod on this machine, made of unprivileged namespaces, with a cluster around it.

One process, the *supervisor*, holds it all. It is in a user namespace of its own, in a copy of this machine's
mounts, and in the network namespace of the *cluster*, whose services it runs. Its child, the *pod*, has every
other kind of namespace too. Both end with whoever made the sandbox, and with them every mount, interface,
socket and file.
"""
