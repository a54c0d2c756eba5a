import errno

from mirrord_agent.wire.errors import ChannelClosed, RequestFailed, StreamReset


def test_errors_are_sentences() -> None:
    assert str(ChannelClosed("the agent ended")) == "the agent ended"
    assert str(RequestFailed(errno.ENOENT)) == "failed in the target: No such file or directory"
    assert str(StreamReset(0)) == "stream reset"
    assert str(StreamReset(errno.EIO)) == "stream reset: Input/output error"
