"""Each language, in each kind of target, by each kind of agent: in one session all that a pod has."""

import itertools
import os
import secrets
import shlex
from dataclasses import dataclass
from typing import Final

import pytest

from ..support.build import SOURCES, command
from ..support.running import statistics
from ..support.serving import Serving, serving
from .conftest import Session
from .test_replicas import Fleet

SOAK: Final = os.environ.get("MIRRORD_SOAK") == "1"
LANGUAGES: Final = ("go", "python", "node", "java")
MOUNTED: Final = (
    "/app/config.yaml",
    "/secrets/password",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
)
OF_EVERY_POD: Final = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
IDENTITY: Final = (SOURCES / "identity" / "identity.py").read_text()


@dataclass(frozen=True, slots=True)
class Case:
    """One session."""

    language: str
    service: str
    """Which service's pods are the target, the label `app` of whose is its name."""
    agent: str
    way: str

    def __str__(self) -> str:
        return f"{self.language}-{self.service}-{self.agent}-{self.way}"

    @property
    def options(self) -> list[str]:
        """The flags that it takes."""
        return ["-v", *["-e"] * (self.agent == "ephemeral"), *["--steal"] * (self.way == "stolen")]


EVERY: Final = [
    Case(*one)
    for one in itertools.product(LANGUAGES, ("set", "web"), ("job", "ephemeral"), ("mirrored", "stolen"))
]
SOME: Final = [
    Case("go", "set", "job", "stolen"),
    Case("python", "web", "job", "mirrored"),
    Case("node", "web", "ephemeral", "stolen"),
    Case("java", "set", "ephemeral", "mirrored"),
]


@pytest.mark.soak
@pytest.mark.parametrize("case", EVERY if SOAK else SOME, ids=str)
def test_a_program_has_all_of_its_pod(case: Case, session: Session) -> None:
    fleet = Fleet(session, case.service)
    pods = fleet.pods()
    target = f"pod/{pods[0]}" if len(pods) == 1 else f"deployment/{case.service}"
    look = shlex.join([*command(f"identity-{case.language}"), *MOUNTED])
    serve = shlex.join(command(f"serve-{case.language}"))
    line = session.line(target, "sh", "-ec", f"{look}; exec {serve}", options=case.options)

    with serving(session.runner, line, env=session.environment()) as one:
        one.wait("^answer=")
        seen = one.lines[: len(MOUNTED) + 4]
        assert seen == in_the_pod(session, pods[0], MOUNTED)
        values = {f"greeting={session.workloads.greeting}", f"config={session.workloads.config}"}
        assert values | {f"config={session.workloads.password}"} <= set(seen)
        for pod in pods:
            one.wait(f"port 8080 of {pod} is {case.way}")
        (mirrored if case.way == "mirrored" else stolen)(fleet, one)
        one.stop()
    asked = statistics("\n".join(one.said))
    assert min(asked["open_tcp"], asked["open_udp"], asked["get_environment"], asked["subscribe"]) >= 1


def mirrored(fleet: Fleet, one: Serving) -> None:
    """Have every pod answer requests to the service, and the program get a copy of each."""
    answered, paths = fleet.ask(len(fleet.pods()))
    assert answered == set(fleet.pods())
    for path in paths:
        one.wait(f" GET {path} 0$")


def stolen(fleet: Fleet, one: Serving) -> None:
    """Have the program answer requests to the service, and to each of its pods."""
    for url in (f"http://{fleet.name}", *map(fleet.url, fleet.pods())):
        path = f"/{secrets.token_hex(4)}"
        assert list(fleet.answers(url, path)["answers"]) == ["local\n"]
        one.wait(f" GET {path}/0 0$")


@pytest.mark.parametrize("language", LANGUAGES if SOAK else ["go"])
def test_a_program_without_a_target_has_all_of_the_agents_pod(language: str, session: Session) -> None:
    look = shlex.join([*command(f"identity-{language}"), *OF_EVERY_POD])
    line = session.line("targetless", "sh", "-ec", f"{look}; exec cat", options=["-v"])
    with serving(session.runner, line, env=session.environment()) as one:
        one.wait("^answer=")
        (host,) = one.wait("^hostname=(mirrord-agent-.*)")
        assert one.lines == in_the_pod(session, host[1], OF_EVERY_POD)
        one.give_input_end()
        assert one.end() == 0
    asked = statistics("\n".join(one.said))
    assert min(asked["open_tcp"], asked["open_udp"], asked["get_environment"]) >= 1


def in_the_pod(session: Session, pod: str, files: tuple[str, ...]) -> list[str]:
    """Return what the same program prints that runs there."""
    where = ("exec", f"--namespace={session.workloads.namespace}", "-i", pod, "--")
    return session.cluster.kubectl(*where, "python3", "-", *files, given=IDENTITY).splitlines()
