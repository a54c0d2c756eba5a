from mirrord.dispatch.files import Files

from .fakes import Stage, Theatre


def test_every_part_of_the_plane_has_its_rows(stage: Stage) -> None:
    names = {row.rule.syscall for row in Files(stage.world).rows()}
    assert {"openat", "statx", "fgetxattr", "chdir", "unlinkat"} <= names


def test_without_rules_there_is_nothing_to_do(theatre: Theatre) -> None:
    assert Files(theatre.stage({"fs": "local"}).world).rows() == []
