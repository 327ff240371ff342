"""The private names of nats-py that the package uses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

import rosey_dbsvc
from rosey_dbsvc.messaging import nats_private
from rosey_dbsvc.messaging.nats_private import PRIVATE_ATTRIBUTES, PRIVATE_METHODS

PACKAGE = Path(rosey_dbsvc.__file__).parent
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}
INSTANCES = {
    Client: Client(),
    Subscription: Subscription(Client()),
    TcpTransport: TcpTransport(),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize(("owner", "name"), PRIVATE_METHODS)
def test_each_private_method_exists(owner: type, name: str) -> None:
    assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name} is gone"


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in PRIVATE_ATTRIBUTES for name in names],
)
def test_each_private_attribute_exists(owner: type, name: str) -> None:
    assert hasattr(INSTANCES[owner], name), f"{owner.__name__}.{name} is gone"


def test_the_queue_of_a_subscription_is_read_as_it_is_filled() -> None:
    assert Subscription(Client())._pending_size == 0
    assert Subscription(Client())._pending_queue.empty()


def private_names(file: Path) -> Iterator[str]:
    """Yield `object._name` for each private name that is not of `self` or `cls`."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr):
            owner = ast.unparse(node.value)
            if owner not in {"self", "cls", "super()"} and node.attr not in NAMED_TUPLE:
                yield f"{owner}.{node.attr}"


def test_no_other_module_uses_a_private_name_of_nats_py() -> None:
    others = {*PACKAGE.rglob("*.py")} - {Path(nats_private.__file__)}
    found = {f"{file.name}: {name}" for file in others for name in private_names(file)}
    assert found == {"client.py: other._transport"}, "which is of a copy of our own client"


def test_each_private_name_that_is_used_is_in_the_table() -> None:
    listed = {name for _, name in PRIVATE_METHODS}
    listed |= {name for _, names in PRIVATE_ATTRIBUTES for name in names}
    used = {name.rpartition(".")[2] for name in private_names(Path(nats_private.__file__))}
    assert used <= listed
