"""``feature.network.incoming``: modelled in full, so that files are checked; stealing is not built yet."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, field_validator, model_validator

from mirrord.config.patterns import compile_pattern
from mirrord.config.section import Anything, Bool, Later, Pending, Port, Ports, Section

# YAML 1.1 reads a bare `off` as false.
Mode = Annotated[
    Literal["mirror", "steal", "off"], BeforeValidator(lambda value: "off" if value is False else value)
]
PortPair = tuple[Port, Port]


class HttpFilter(Section):
    """Which requests of a stolen port are taken; the others go to the original."""

    header_filter: Later[str | None] = None
    path_filter: Later[str | None] = None
    method_filter: Later[str | None] = None
    header_filter_jq: Later[str | None] = None
    body_filter: Later[Anything] = None
    all_of: Later[Anything] = None
    any_of: Later[Anything] = None
    ports: Later[Ports] = ()

    @field_validator("header_filter", "path_filter")
    @classmethod
    def _check(cls, value: str | None) -> str | None:
        if value is not None:
            compile_pattern(value)
        return value

    @model_validator(mode="after")
    def _one_filter(self) -> "HttpFilter":
        given = sorted(self.model_fields_set - {"ports"})
        if len(given) > 1:
            raise ValueError(
                f"has {' and '.join(f'`{name}`' for name in given)}, of which only one may be given"
            )
        return self


class Incoming(Section):
    """What happens with connections that reach the target."""

    mode: Annotated[Mode, Pending(("steal",))] = "mirror"
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
