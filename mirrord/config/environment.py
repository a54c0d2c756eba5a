"""Which variables the program gets: the rules of ``feature.env``.

The order is the existing mirrord's: the target's variables, less the excluded ones, then ``env_file``,
``mapping`` and ``override``; all of this over the local ones; ``unset`` last, which takes local ones away
too.
"""

import os
from collections.abc import Mapping
from typing import Final, Self

from mirrord.config.dotenv import read_dotenv
from mirrord.config.features import Environment
from mirrord.config.model import Settings
from mirrord.config.patterns import compile_pattern, compile_wildcards

NEVER_REMOTE: Final = frozenset(
    b"""
    BUNDLER_ORIG_BUNDLER_ORIG_MANPATH BUNDLER_ORIG_BUNDLER_VERSION BUNDLER_ORIG_BUNDLE_BIN_PATH
    BUNDLER_ORIG_BUNDLE_GEMFILE BUNDLER_ORIG_GEM_HOME BUNDLER_ORIG_MANPATH BUNDLER_ORIG_PATH
    BUNDLER_ORIG_RB_USER_INSTALL BUNDLER_ORIG_RUBYLIB BUNDLER_ORIG_RUBYOPT BUNDLER_VERSION BUNDLE_APP_CONFIG
    BUNDLE_BIN_PATH BUNDLE_FORCE_RUBY_PLATFORM BUNDLE_GEMFILE BUNDLE_GEM_PATH BUNDLE_PATH BUNDLE_WITHOUT
    CATALINA_HOME CLASSPATH DOTNET_EnableDiagnostics DOTNET_STARTUP_HOOKS GEM_HOME GEM_PATH GOPATH
    GOMODCACHE HOME HOMEPATH JAVA_EXE JAVA_HOME JAVA_TOOL_OPTIONS PATH PWD PYTHONPATH RUBYLIB RUBYOPT
    MIRRORD_LOG RUST_LOG _JAVA_OPTIONS
    """.split()
)
"""Variables that say where things are on a machine; never the target's, whatever ``include`` says."""


class EnvironmentRules:
    """Makes the program's environment out of the target's and the local one."""

    def __init__(self, env: Environment, *, aws: bool = True, cwd: bytes | None = None) -> None:
        self._include: Final = compile_wildcards(env.include) if env.include is not None else None
        self._exclude: Final = compile_wildcards(env.exclude or ())
        self._all: Final = env.include is None
        self.wants_remote: Final = env.include != () and "*" not in (env.exclude or ())
        """Whether any variable of the target can be taken, so that it has to be asked for them."""
        self._file: Final = read_dotenv(env.env_file, cwd=cwd) if env.env_file is not None else {}
        self._mapping: Final = [
            (compile_pattern(name), os.fsencode(value)) for name, value in env.mapping.items()
        ]
        self._override: Final = {
            os.fsencode(name): os.fsencode(value) for name, value in env.override.items()
        }
        # The pod's own identity is to be used, not the developer's profile.
        unset = (*env.unset, "AWS_PROFILE") if aws else env.unset
        self._unset: Final = frozenset(os.fsencode(name).lower() for name in unset)

    @classmethod
    def from_settings(cls, settings: Settings, *, cwd: bytes | None = None) -> Self:
        """Compile the rules of a session and read its ``env_file``; raise UsageError.

        A relative ``env_file`` starts from ``cwd``.
        """
        feature = settings.feature
        return cls(feature.env, aws=feature.magic.aws, cwd=cwd)

    def takes(self, name: bytes) -> bool:
        """Tell whether the target's variable of this name is taken."""
        if name in NEVER_REMOTE or (self._exclude is not None and self._exclude.fullmatch(name)):
            return False
        return self._all or (self._include is not None and self._include.fullmatch(name) is not None)

    def apply(self, remote: Mapping[bytes, bytes], local: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Return the variables for the program's ``execve``."""
        taken = {name: value for name, value in remote.items() if self.takes(name)} | self._file
        for pattern, value in self._mapping:
            for name in taken:
                if pattern.search(os.fsdecode(name)):
                    taken[name] = value
        result = {**local, **taken, **self._override}
        return {name: value for name, value in result.items() if name.lower() not in self._unset}
