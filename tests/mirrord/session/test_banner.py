from mirrord_agent.wire.messages import Statistics

from mirrord.session.banner import answered, arrived


def of(**incoming: int) -> Statistics:
    idle = {"in_flight": 1, "most_in_flight": 1, "streams_opened": 0, "streams_open": 0, "resident_bytes": 0}
    return Statistics.model_validate({"requests": {"subscribe": 1}, "incoming": incoming, **idle})


def test_the_end_sums_up_what_reached_all_pods() -> None:
    here, others = of(connections=2, finished=1), [of(connections=3), of()]
    assert arrived([here, *others], "steal") == "stolen at 3 pods: connections 5, finished 1"


def test_the_end_of_a_session_with_one_pod() -> None:
    assert arrived([of(connections=2)], "mirror") == "mirrored: connections 2"
    assert arrived([of()], "mirror") == ""
    assert answered(of()) == "the agent answered: subscribe 1"
