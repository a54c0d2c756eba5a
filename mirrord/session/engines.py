"""Which engine a session has: the one that was named, else the best one that works here."""

import asyncio

from mirrord.config.model import Settings
from mirrord.session.say import Sayings
from mirrord.tracer.engine import Engine
from mirrord.tracer.followed import FollowingEngine
from mirrord.tracer.notified import NotifyEngine
from mirrord.tracer.probe import reason_against_notify
from mirrord.tracer.traced import PtraceEngine


def make_engine(settings: Settings, sayings: Sayings) -> Engine:
    """Return the engine, on the event loop; it may fork, for which there must not be a thread yet."""
    name = _name(settings, sayings)
    skipped = settings.skipped_processes
    if name == "ptrace":
        return PtraceEngine(asyncio.get_running_loop(), skipped=skipped, warn=sayings.warn)
    return NotifyEngine(skipped=skipped, warn=sayings.warn)


def make_attaching_engine(
    settings: Settings, sayings: Sayings, *, kept: bool
) -> NotifyEngine | FollowingEngine:
    """Return the engine that attaches, likewise; ``kept`` tells that the process has a keeper, whose listener
    needs nothing of what may be lacking here.
    """
    name = "notify" if kept and settings.engine is None else _name(settings, sayings)
    skipped = settings.skipped_processes
    if name == "ptrace":
        return FollowingEngine(asyncio.get_running_loop(), skipped=skipped, warn=sayings.warn)
    return NotifyEngine(skipped=skipped, warn=sayings.warn)


def _name(settings: Settings, sayings: Sayings) -> str:
    name = settings.engine or _best(sayings)
    sayings.detail(f"engine: {name}")
    return name


def _best(sayings: Sayings) -> str:
    reason = reason_against_notify()
    if reason is None:
        return "notify"
    sayings.info(f"engine ptrace is used, in which debuggers do not work: {reason}")
    return "ptrace"
