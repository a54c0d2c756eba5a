"""``feature``: what is taken from the target, plane by plane."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mirrord.config.incoming import Incoming
from mirrord.config.patterns import compile_pattern, compile_replacement
from mirrord.config.section import Anything, Bool, Later, Names, Pending, Section, Strings
from mirrord.config.selectors import parse_selector

FsMode = Literal["read", "write", "local", "localwithoverrides"]


class Environment(Section):
    """``feature.env``: which variables of the target the program gets, and what replaces them."""

    include: Names | None = None
    exclude: Names | None = None
    override: dict[str, str] = Field(default={}, repr=False)
    unset: Strings = ()
    env_file: str | None = None
    mapping: dict[str, str] = Field(default={}, repr=False)
    load_from_process: Later[Bool] = False

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` for everything and ``false`` for nothing."""
        if isinstance(value, bool):
            return {} if value else {"exclude": ["*"]}
        return value

    @field_validator("override")
    @classmethod
    def _check_override(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name or "=" in name or "\0" in name + text:
                raise ValueError(
                    "has a variable that no program can get: without a name, or with = or NUL in it"
                )
        return value

    @field_validator("mapping")
    @classmethod
    def _check(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value:
            compile_pattern(pattern)
        return value

    @model_validator(mode="after")
    def _exclusive(self) -> "Environment":
        if self.include is not None and self.exclude is not None:
            raise ValueError("has both `include` and `exclude`, of which only one may be given")
        return self


class Fs(Section):
    """``feature.fs``: whose files the program sees."""

    mode: Annotated[FsMode, Pending(("write",))] = "read"
    read_write: Strings = ()
    read_only: Strings = ()
    local: Strings = ()
    not_found: Strings = ()
    mapping: dict[str, str] = Field(default={})
    # Harmless: a remote file is here in full before the program gets it, so there is nothing to read ahead.
    readonly_file_buffer: Annotated[int, Field(strict=True, ge=0, le=15 << 20)] = 128_000

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` for the default mode, ``false`` for local, or a mode."""
        if isinstance(value, bool):
            return {} if value else {"mode": "local"}
        return {"mode": value} if isinstance(value, str) else value

    @field_validator("read_write", "read_only", "local", "not_found")
    @classmethod
    def _check(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            compile_pattern(pattern)
        return value

    @field_validator("mapping")
    @classmethod
    def _check_mapping(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern, replacement in value.items():
            compile_replacement(replacement, compile_pattern(pattern))
        return value


class Filter(Section):
    """Only these remote, or only these local; see :mod:`mirrord.config.selectors` for the entries."""

    remote: Strings | None = None
    local: Strings | None = None

    @field_validator("remote", "local")
    @classmethod
    def _check(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError("must not be empty")
        for entry in value or ():
            parse_selector(entry)
        return value

    @model_validator(mode="after")
    def _exclusive(self) -> "Filter":
        if self.remote is not None and self.local is not None:
            raise ValueError("has both `remote` and `local`, of which only one may be given")
        return self


class Outgoing(Section):
    """``feature.network.outgoing``: which connections are made from the target."""

    tcp: Bool = True
    udp: Bool = True
    ignore_localhost: Bool = False
    filter: Filter
    unix_streams: Strings = ()

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` and ``false`` for both protocols."""
        return {"tcp": value, "udp": value} if isinstance(value, bool) else value

    @field_validator("unix_streams")
    @classmethod
    def _check(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            compile_pattern(pattern)
        return value


class Dns(Section):
    """``feature.network.dns``: whether names are resolved as in the target."""

    enabled: Bool = True
    filter: Filter

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` and ``false``."""
        return {"enabled": value} if isinstance(value, bool) else value


class Network(Section):
    """``feature.network``."""

    incoming: Incoming
    outgoing: Outgoing
    dns: Dns
    ipv6: Bool = True

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` for everything and ``false`` for nothing."""
        if isinstance(value, bool):
            return {} if value else {"incoming": False, "outgoing": False, "dns": False}
        return value


class CopyTarget(Section):
    """``feature.copy_target``."""

    enabled: Later[Bool] = False
    scale_down: Later[Bool] = False
    exclude_containers: Later[Strings] = ()
    exclude_init_containers: Later[Strings] = ()

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` and ``false``; an object without ``enabled`` asks for a copy too."""
        if isinstance(value, bool):
            return {"enabled": value}
        return {"enabled": True, **value} if isinstance(value, dict) and value else value


class Magic(Section):
    """``feature.magic``: adjustments for common tools."""

    aws: Bool = True
    # Harmless: a sandbox has no volume mounts, and no program is told apart by its name here.
    auto_mount: Bool = True
    turbo: Bool = True

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take ``true`` and ``false`` for all of them."""
        return dict.fromkeys(cls.model_fields, value) if isinstance(value, bool) else value


class Feature(Section):
    """``feature``."""

    env: Environment
    fs: Fs
    network: Network
    hostname: Bool = True
    copy_target: CopyTarget
    split_queues: Later[Anything] = None
    db_branches: Later[Anything] = None
    preview: Later[Anything] = None
    magic: Magic
