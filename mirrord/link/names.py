"""Which names an address is known by: from the DNS answers that passed through."""

from collections import OrderedDict
from collections.abc import Collection
from typing import Final, Literal

_MOST: Final = 4096
_MOST_OF_ONE: Final = 64
"""A wildcard of DNS gives one address any number of names."""


class KnownNames:
    """Names by address; what was learnt longest ago is forgotten first: addresses, and names of one."""

    def __init__(self) -> None:
        self._names: Final[OrderedDict[str, tuple[str, ...]]] = OrderedDict()

    def of(self, address: str) -> Collection[str]:
        """Return the names of an address; from any thread."""
        return self._names.get(address, ()) if self._names else ()

    def learn(self, answer: bytes) -> None:
        """Take the names and addresses of a DNS message; one that is malformed teaches nothing.

        A name stands for what its chain of CNAME records ends in, so the question's name is known for every
        address of the answer.
        """
        import dns.exception
        import dns.message
        import dns.rdataclass
        import dns.rdatatype

        try:
            message = dns.message.from_wire(answer, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return
        asked = {_text(question.name) for question in message.question}
        for records in message.answer:
            if records.rdclass == dns.rdataclass.IN and records.rdtype in (
                dns.rdatatype.A,
                dns.rdatatype.AAAA,
            ):
                for record in records:
                    self._add(record.address, asked | {_text(records.name)})

    def _add(self, address: str, names: set[str]) -> None:
        # at no moment without those that are known: the gate's thread asks meanwhile
        before = [name for name in self._names.get(address, ()) if name not in names]
        self._names[address] = (*before, *sorted(names))[-_MOST_OF_ONE:]
        self._names.move_to_end(address)
        if len(self._names) > _MOST:
            self._names.popitem(last=False)


def described(packet: bytes) -> tuple[Literal["question", "answer"], str] | None:
    """Return what a DNS message asks or answers, for people; None for one that is malformed."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdatatype

    try:
        message = dns.message.from_wire(packet, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    asked = ", ".join(f"{_text(one.name)} {dns.rdatatype.to_text(one.rdtype)}" for one in message.question)
    if not message.flags & dns.flags.QR:
        return "question", asked
    found = [str(record) for records in message.answer for record in records]
    return "answer", f"{asked}: {' '.join(found) or dns.rcode.to_text(message.rcode())}"


def _text(name: object) -> str:
    return str(name).rstrip(".").lower()
