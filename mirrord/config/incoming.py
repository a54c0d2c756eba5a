"""``feature.network.incoming``: which connections reach the program, and how."""

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ValidationError, model_validator

from mirrord.config.section import Anything, Bool, Later, Port, Ports, Section

# YAML 1.1 reads a bare `off` as false.
Mode = Annotated[
    Literal["mirror", "steal", "off"], BeforeValidator(lambda value: "off" if value is False else value)
]
PortPair = tuple[Port, Port]
_LONGEST_SHOWN: Final = 200


class HttpFilter(Section):
    """Which requests are taken; the others are the target's alone.

    It is the agent that applies it, so the agent's own model says what is a filter, regular expressions
    included. That is imported only where there is one: it takes long.
    """

    header_filter: str | None = None
    path_filter: str | None = None
    method_filter: str | None = None
    header_filter_jq: str | None = None
    body_filter: Any = None
    all_of: Any = None
    any_of: Any = None
    ports: Ports = ()

    @model_validator(mode="after")
    def _check(self) -> "HttpFilter":
        if self.is_empty:
            return self
        from mirrord_agent.http.filter import HttpFilter as Applied

        try:
            Applied.model_validate(self._given())
        except ValidationError as error:
            raise ValueError(_complaint(error)) from None
        return self

    @property
    def is_empty(self) -> bool:
        """Whether every request is taken."""
        return not self._given().keys() - {"ports"}

    def _given(self) -> dict[str, Any]:
        return self.model_dump(exclude_defaults=True)

    def as_json(self) -> str:
        """Return what the agent is told; empty where every request is taken."""
        return "" if self.is_empty else json.dumps(self._given())

    def described(self) -> str:
        """Return which requests are taken, for people; empty where all are."""
        parts = [f"`{name}` {_shown(value)}" for name, value in self._given().items() if name != "ports"]
        return f"requests by {parts[0]}" if parts else ""


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


_ALONE: Final = {
    "header": "header_filter",
    "path": "path_filter",
    "method": "method_filter",
    "header_jq": "header_filter_jq",
}


def _complaint(error: ValidationError) -> str:
    """Return what is wrong with a filter, as a sentence whose subject is ``http_filter``."""
    detail = error.errors(include_url=False, include_input=False)[0]
    location = detail["loc"]
    # after the number of an entry comes its kind, which is no key
    keys = [
        part for before, part in zip((None, *location), location, strict=False) if type(before) is not int
    ]
    keys = [_ALONE.get(str(part), part) for part in keys] if len(keys) == 1 else keys
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in keys)
    found = detail.get("ctx", {}).get("error")
    text = str(found) if found is not None else detail["msg"][0].lower() + detail["msg"][1:]
    return f"has a `{where.removeprefix('.')}` that is wrong: {text}" if where else text


class Incoming(Section):
    """What happens with connections that reach the target."""

    mode: Mode = "mirror"
    http_filter: HttpFilter
    port_mapping: tuple[PortPair, ...] = ()
    """Pairs of a port that the program asks for, and the target's port that it stands for."""
    ignore_ports: Ports = ()
    ports: Ports = ()
    ignore_localhost: Bool = False
    listen_ports: tuple[PortPair, ...] = ()
    """Pairs of a port that the program asks for, and the one that it gets on this machine."""
    on_concurrent_steal: Later[Literal["abort", "continue", "override"]] = "abort"
    tls_delivery: Later[Anything] = None

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true``, ``false``, a mode, and the old name of ``tls_delivery``."""
        if isinstance(value, bool):
            return {"mode": "mirror" if value else "off"}
        if isinstance(value, str):
            return {"mode": value}
        if isinstance(value, dict) and "https_delivery" in value:
            return {"tls_delivery" if key == "https_delivery" else key: item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _exclusive(self) -> "Incoming":
        if self.ports and self.ignore_ports:
            raise ValueError("has both `ports` and `ignore_ports`, of which only one may be given")
        for name in ("port_mapping", "listen_ports"):
            for column in zip(*getattr(self, name), strict=True):
                if len(set(column)) < len(column):
                    raise ValueError(f"has a `{name}` that names a port twice on one side")
        return self


class IncomingRules:
    """Decides which of the program's listeners stand for a port of the target."""

    def __init__(self, incoming: Incoming) -> None:
        self._enabled: Final = incoming.mode != "off"
        self._only: Final = frozenset(incoming.ports)
        self._ignored: Final = frozenset(incoming.ignore_ports)
        self._ignore_localhost: Final = incoming.ignore_localhost
        self._remote: Final = dict(incoming.port_mapping)
        self._local: Final = dict(incoming.listen_ports)

    @property
    def enabled(self) -> bool:
        """Whether any listener can."""
        return self._enabled

    def remote_port(self, requested: int, *, is_loopback: bool) -> int | None:
        """Return the target's port for a listener whose port was asked for, None where that is local.

        A port that the program left to the kernel, 0, means nothing to anybody else.
        """
        if not self._enabled or not requested or (is_loopback and self._ignore_localhost):
            return None
        if requested in self._ignored or (self._only and requested not in self._only):
            return None
        return self._remote.get(requested, requested)

    def local_port(self, requested: int) -> int:
        """Return the port that the program gets when it asks for one."""
        return self._local.get(requested, requested)
