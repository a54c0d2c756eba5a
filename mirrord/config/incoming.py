"""``feature.network.incoming``: modelled in full, so that files are checked; only ``off`` is built so far."""

from typing import Annotated, Any, Literal

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
    """What happens with connections that reach the target.

    ``mirror`` is the default, and not done yet: a session says nothing of it.
    """

    mode: Annotated[Mode, Pending(("steal",))] = "mirror"
    http_filter: HttpFilter
    port_mapping: Later[tuple[PortPair, ...]] = ()
    ignore_ports: Later[Ports] = ()
    ports: Later[Ports] = ()
    ignore_localhost: Later[Bool] = False
    listen_ports: Later[tuple[PortPair, ...]] = ()
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
        for column in zip(*self.port_mapping, strict=True):
            if len(set(column)) < len(column):
                raise ValueError("has a `port_mapping` that names a port twice on one side")
        return self
