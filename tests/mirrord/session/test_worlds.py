from mirrord.link.addresses import Peer
from mirrord.session.worlds import _substitutes, name_servers


def test_name_servers() -> None:
    text = b"# nameserver 9.9.9.9\nsearch a b\nnameserver 10.0.0.10\nnameserver\n nameserver fd00::53 x\n"
    assert name_servers(text) == ("10.0.0.10", "fd00::53")


def test_the_targets_name_server_takes_the_place_of_ours() -> None:
    remote = b"nameserver 10.0.0.10\nnameserver 10.0.0.11\n"
    assert _substitutes(["127.0.0.53", "10.0.0.11"], remote) == {
        Peer("127.0.0.53", 53): Peer("10.0.0.10", 53)
    }
    assert _substitutes(["127.0.0.53"], b"") == {}
