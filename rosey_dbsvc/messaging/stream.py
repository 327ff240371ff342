"""The stream that captures the events: found, made, checked, and changed only when told to."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import errors
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)

from rosey_dbsvc.errors import (
    ConnectionLost,
    DbsvcError,
    NoJetStream,
    StreamDiffers,
    StreamRefused,
    Unavailable,
)
from rosey_dbsvc.messaging.connection import GONE, describe
from rosey_dbsvc.operations.base import EVENTS
from rosey_dbsvc.settings import UNLIMITED, Durable, show_age, show_size

logger = logging.getLogger(__name__)

API_TIMEOUT: Final = 2.0
"""How long an answer of JetStream's may take, in seconds."""

INACTIVE: Final = 30.0
"""How long a consumer is kept by the server that nobody reads from, in seconds."""

# From the server's errors.json. The others may pass, like a cluster that has no leader yet.
NOT_ENABLED: Final = frozenset({10039, 10076})
UNAVAILABLE: Final = frozenset({10004, 10005, 10008, 10009, 10118})

HINTS: Final = {
    10059: "there is none of that name; see --stream and --nats-url",
    10065: "name that one with --stream, or another --prefix",
    10074: "--stream-replicas takes 1 here",
}
"""What to do, for those refusals that say too little."""


class State(NamedTuple):
    """What a stream has: since when it is there, from which sequence to which, and where."""

    created: str
    first: int
    last: int
    clustered: bool


class Stream:
    """One stream of a JetStream.

    Every method may raise Unavailable, which may pass, and ConnectionLost, which does not.
    """

    def __init__(self, nc: Client, prefix: str, durable: Durable) -> None:
        self.name = durable.stream
        self._nc = nc
        self._js = nc.jetstream(timeout=API_TIMEOUT)
        self.made = ""
        """When it was made, if that was here."""
        self._update = durable.update
        self._prefix = f"{prefix}."
        self._subjects = [f"{prefix}.{event.name}" for event in EVENTS]
        self._wanted = StreamConfig(
            name=durable.stream,
            description="What a chat bot has told rosey-dbsvc",
            subjects=self._subjects,
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            num_replicas=durable.replicas,
            max_age=durable.max_age,
            max_bytes=durable.max_bytes,
            max_msgs=UNLIMITED,
            max_consumers=UNLIMITED,
        )

    async def prepare(self) -> None:
        """See that the stream is there as it is wanted.

        Raises NoJetStream, StreamRefused, or StreamDiffers naming each setting.
        """
        with explained(self._nc, self.name):
            found = await self._find()
            self._check_subjects(found)
            if differing := ", ".join(differences(found.config, self._wanted)):
                if not self._update:
                    raise StreamDiffers(
                        f"the stream {self.name} is there with other settings: {differing}; "
                        "ask for those, or change it with --stream-update"
                    )
                await self._js.update_stream(changed(found.config, self._wanted))
                logger.info("changed the stream %s, which had %s", self.name, differing)

    def _check_subjects(self, found: StreamInfo) -> None:
        """See that the stream is not somebody else's, whatever may be changed."""
        if not all(subject.startswith(self._prefix) for subject in found.config.subjects or [""]):
            raise StreamDiffers(
                f"the stream {self.name} captures subjects that do not begin with {self._prefix}: "
                "choose another with --stream"
            )

    async def _find(self) -> StreamInfo:
        try:
            return await self._js.stream_info(self.name)
        except errors.NotFoundError:
            made = await self._js.add_stream(self._wanted)
            logger.info("made the stream %s", self.name)
            self.made = str(made.created)
            return made

    async def state(self, *, make: bool = True) -> State:
        """Return what the stream has; make it if it is not there.

        Raises StreamDiffers if it is not for these events, StreamRefused if it is not to be made.
        """
        with explained(self._nc, self.name):
            info = await (self._find() if make else self._js.stream_info(self.name))
        self._check_subjects(info)
        if make and (lacking := set(self._subjects) - set(info.config.subjects or ())):
            raise StreamDiffers(
                f"the stream {self.name} does not capture {min(lacking)}: "
                "change it with --stream-update"
            )
        clustered = bool(info.cluster and info.cluster.name)
        return State(str(info.created), info.state.first_seq, info.state.last_seq, clustered)

    async def consume(self, sequence: int, since: str = "") -> str:
        """Make a consumer from a sequence on, or from a time, and return where to ask it.

        It needs no acknowledgements, and the server forgets it when it is asked no more.
        """
        start: dict[str, Any] = {
            "deliver_policy": DeliverPolicy.BY_START_SEQUENCE,
            "opt_start_seq": sequence,
        }
        if since:
            start = {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": since}
        config = ConsumerConfig(
            description="rosey-dbsvc",
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE,
            **start,
        )
        with explained(self._nc, self.name):
            consumer = await self._js.add_consumer(self.name, config)
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{consumer.name}"


def differences(found: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Return what is set otherwise than wanted, each in words."""
    return [
        f"{word} {shown(found_value)} instead of {shown(wanted_value)}"
        for word, attribute, shown in SHOWN
        if (found_value := getattr(found, attribute))
        != (wanted_value := getattr(wanted, attribute))
        and (attribute != "subjects" or set(found_value or ()) != set(wanted_value))
    ]


def changed(found: StreamConfig, wanted: StreamConfig) -> StreamConfig:
    """Return the settings as found, but for those that are wanted otherwise."""
    return found.evolve(**{attribute: getattr(wanted, attribute) for _, attribute, _ in SHOWN})


def _size(most: int) -> str:
    return "none" if most == UNLIMITED else show_size(most)


def _count(most: int) -> str:
    return "any" if most == UNLIMITED else str(most)


def _word(value: object) -> str:
    return str(getattr(value, "value", value))


SHOWN: Final = (
    ("subjects", "subjects", lambda subjects: " ".join(subjects or ["none"])),
    ("retention", "retention", _word),
    ("storage", "storage", _word),
    ("discard", "discard", _word),
    ("replicas", "num_replicas", str),
    ("max age", "max_age", lambda age: show_age(age) if age else "none"),
    ("max bytes", "max_bytes", _size),
    ("max messages", "max_msgs", _count),
    ("max messages a subject", "max_msgs_per_subject", _count),
    ("max message size", "max_msg_size", _size),
    ("no_ack", "no_ack", str),
    ("subject transform", "subject_transform", lambda transform: "some" if transform else "none"),
)
"""What has to be as wanted, since it decides what the stream keeps; in words, and as JetStream."""


@contextmanager
def explained(nc: Client, stream: str) -> Iterator[None]:
    """Raise what JetStream says as errors of ours."""
    try:
        yield
    except (errors.ServiceUnavailableError, NoRespondersError) as error:
        raise _unavailable(error) from None
    except errors.APIError as error:
        if error.err_code in UNAVAILABLE:
            raise Unavailable(error.description or "") from None
        why = ": ".join(filter(None, (error.description, HINTS.get(error.err_code or 0))))
        raise StreamRefused(f"JetStream refuses the stream {stream}: {why}") from None
    except TimeoutError:
        raise Unavailable from None
    except GONE as error:
        if nc.is_closed:
            raise ConnectionLost from None
        raise Unavailable(describe(error)) from None


def _unavailable(error: Exception) -> DbsvcError:
    code = getattr(error, "err_code", None)
    if code is None:  # nobody listens to its subjects
        return NoJetStream()
    if code in NOT_ENABLED:
        return NoJetStream(
            "JetStream is not enabled for this account: "
            "add `jetstream: enabled` to it in the configuration of the NATS server"
        )
    return Unavailable(getattr(error, "description", None) or "")
