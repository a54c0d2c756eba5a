"""Calls on sockets."""

from typing import Final

PROTOTYPES: Final = {
    "socket": "domain:ADVICE type:FLAGS protocol:INT",
    "socketpair": "domain:ADVICE type:FLAGS protocol:INT sv:POINTER",
    "bind": "sockfd:FD addr:SOCKADDR addrlen:SIZE",
    "connect": "sockfd:FD addr:SOCKADDR addrlen:SIZE",
    "listen": "sockfd:FD backlog:INT",
    "accept": "sockfd:FD addr:SOCKADDR addrlen:POINTER",
    "accept4": "sockfd:FD addr:SOCKADDR addrlen:POINTER flags:FLAGS",
    "getsockname": "sockfd:FD addr:SOCKADDR addrlen:POINTER",
    "getpeername": "sockfd:FD addr:SOCKADDR addrlen:POINTER",
    "sendto": "sockfd:FD buf:POINTER size:SIZE flags:FLAGS dest_addr:SOCKADDR addrlen:SIZE",
    "recvfrom": "sockfd:FD buf:POINTER size:SIZE flags:FLAGS src_addr:SOCKADDR addrlen:POINTER",
    "sendmsg": "sockfd:FD msg:POINTER flags:FLAGS",
    "recvmsg": "sockfd:FD msg:POINTER flags:FLAGS",
    "sendmmsg": "sockfd:FD msgvec:POINTER vlen:INT flags:FLAGS",
    "recvmmsg": "sockfd:FD msgvec:POINTER vlen:INT flags:FLAGS timeout:POINTER",
    "getsockopt": "sockfd:FD level:ADVICE optname:ADVICE optval:POINTER optlen:POINTER",
    "setsockopt": "sockfd:FD level:ADVICE optname:ADVICE optval:POINTER optlen:SIZE",
    "shutdown": "sockfd:FD how:ADVICE",
}
