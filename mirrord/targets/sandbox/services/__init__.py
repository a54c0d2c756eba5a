"""What listens in the sandbox: HTTP, DNS, echoes, a forwarder. Each runs on the event loop of the process
that has it.
"""
