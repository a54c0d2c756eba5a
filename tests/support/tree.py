"""A tree of files in the pod, of everything that programs find there."""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from .running import Outcome

MAKE: Final = r"""
mkdir "$0" && cd "$0" && mkdir -p pkg/sub site/sub/deep cfg/..1 nm/node_modules/dep go/a/b || exit 1
echo 'VALUE = 42' > pkg/__init__.py; echo 'from pkg import VALUE as V; X = V + 1' > pkg/sub/__init__.py
echo 'exports.x = 7' > one.js; echo 'exports.y = 8' > nm/node_modules/dep/index.js
echo 'console.log(require("dep").y, require("../one.js").x)' > nm/main.js
echo 'K=sourced' > env.sh; echo hard > site/h1; ln site/h1 site/h2; : > site/empty
ln -s ../cfg site/cfglink; ln -s /etc/passwd site/absolute; ln -s loop site/loop; ln -s nowhere site/dangling
truncate -s 1M site/sparse; printf end >> site/sparse; head -c 300000 /dev/urandom > site/random
echo '<p>page</p>' > site/index.html; printf odd > "$(printf 'site/odd-\377')"; echo deep > site/sub/deep/file
echo one > cfg/..1/key; ln -s ..1 cfg/..data; ln -s ..data/key cfg/key; echo go > go/a/b/c.txt
touch -d 2001-02-03T04:05:06.789 site/h1 cfg; chmod 750 site/sub; chmod 640 site/random
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """Where it is in the pod, and a configuration by which all of it is remote."""

    path: str
    configuration: str

    @property
    def options(self) -> list[str]:
        """What ``mirrord exec`` is given."""
        return ["-f", self.configuration]


@pytest.fixture
def tree(in_pod: Callable[..., Outcome], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """Make a tree in the pod."""
    path = f"/app/tree-{secrets.token_hex(4)}"
    made = in_pod("sh", "-c", MAKE, path)
    assert made.code == 0, made.err
    configuration = Path(tmp_path_factory.mktemp("configuration"), "mirrord.json")
    rules = {"fs": {"mode": "read", "read_only": ["^/app(/|$)"]}}
    configuration.write_text(json.dumps({"skip_build_tools": False, "feature": rules}))
    yield Tree(path, str(configuration))
    in_pod("rm", "-rf", path)
