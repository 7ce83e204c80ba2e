"""What all tests share: hypothesis profiles and a real Kafka broker."""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

# Tests are imported without touching `sys.path`; the broker is ours to import by name.
sys.path.insert(0, str(Path(__file__).parent))

from kafka_broker import BrokerUnavailable, Cluster

with warnings.catch_warnings():
    # Importing it reads its schemas in an old way.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient

# A shell has its background jobs ignore Ctrl-C, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", max_examples=300, derandomize=True, deadline=None)
settings.register_profile(
    "nightly", max_examples=10_000, derandomize=False, deadline=None, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


class MakeTopic(Protocol):
    """Makes a topic with a name of its own and returns the name."""

    def __call__(
        self,
        stem: str = "topic",
        *,
        partitions: int = 4,
        configs: Mapping[str, object] | None = None,
    ) -> str: ...


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs the broker, so that `-m "not broker"` leaves it out."""
    fixtures = getattr(item, "fixturenames", ())
    if "kafka" in fixtures:
        item.add_marker(pytest.mark.broker)
    if "leaky_sockets" in fixtures:
        ignore = "ignore::pytest.PytestUnraisableExceptionWarning"
        item.add_marker(pytest.mark.filterwarnings(ignore))


@pytest.fixture
def leaky_sockets() -> Iterator[None]:
    """For tests that let kafka-python fail to connect: it does not close its socket.

    What it left open is collected here, not in some later test.
    """
    yield
    gc.collect()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One Kafka node for all tests; skips where there cannot be one, except in CI.

    A test may stop its node, and starts it again.
    """
    cluster = Cluster()
    try:
        cluster.start()
    except BrokerUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Kafka broker in CI: {error}")
        pytest.skip(f"no Kafka broker: {error}")
    yield cluster
    cluster.stop()


@pytest.fixture
def kafka_admin(kafka: Cluster) -> Iterator[Any]:  # pyright knows kafka-python 2 only
    """kafka-python's admin client of the broker.

    In a test that ends the node, ask for `leaky_sockets` too.
    """
    with _admin(kafka) as client:
        yield client


def _admin(kafka: Cluster) -> Any:
    return KafkaAdminClient(bootstrap_servers=kafka.bootstrap)


_numbers = count()


@pytest.fixture
def topics(kafka: Cluster) -> MakeTopic:
    """Make topics that no other test has, ready to use.

    `topics("panes", partitions=3, configs={"cleanup.policy": "compact"})` returns a
    name such as `panes-7`.
    """

    def make(
        stem: str = "topic",
        *,
        partitions: int = 4,
        configs: Mapping[str, object] | None = None,
    ) -> str:
        name = f"{stem}-{next(_numbers)}"
        words = {key: str(value) for key, value in (configs or {}).items()}
        topic = {"num_partitions": partitions, "configs": words}
        with _admin(kafka) as client:
            client.create_topics({name: topic}, wait_for_metadata=True)
        return name

    return make
