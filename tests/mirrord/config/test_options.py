from mirrord.config.options import ExecOptions


def test_what_standard_input_held_is_not_shown() -> None:
    assert "hunter2" not in repr(ExecOptions(program=("x",), stdin_config="hunter2"))
