"""The stream that captures the events: found or created, checked, and updated on request."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import api
from nats.js import errors as js_errors

from rosey_dbsvc import errors
from rosey_dbsvc._text import Logger
from rosey_dbsvc.messaging.connection_events import error_text
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS
from rosey_dbsvc.operations import EVENTS
from rosey_dbsvc.settings import DUPLICATE_WINDOW, UNLIMITED, Durable, format_duration, format_size

logger = Logger(__name__)

API_TIMEOUT: Final = 2.0  # time limit of a JetStream request, in seconds
INACTIVE_THRESHOLD: Final = 30.0
"""Time after which the server deletes an unused consumer, in seconds."""

# From the server's js_errors.json. Other errors may pass, like a cluster without a leader.
NOT_ENABLED: Final = frozenset({10039, 10076})
UNAVAILABLE: Final = frozenset({10004, 10005, 10008, 10009, 10118})
HINTS: Final = {
    10059: "there is no stream with this name; see `stream` and `nats_urls`",
    10065: "name that stream with `stream`, or use another `prefix`",
    10074: "`replicas`: expected 1 here",
}
"""Additions to the server's description of an error."""


class StreamState(NamedTuple):
    """Creation time, first and last sequence of a stream, and whether a cluster stores it."""

    created: str
    first: int
    last: int
    clustered: bool


class Stream:
    """One stream. Every method may raise Unavailable, which may pass, and ConnectionLost."""

    def __init__(self, nc: Client, prefix: str, durable: Durable) -> None:
        self.name = durable.stream
        self.created = ""
        """Creation time, if it was created here."""
        self._nc = nc
        self._js = nc.jetstream(timeout=API_TIMEOUT)
        self.accept_new = durable.accept_new
        self._update = durable.update
        self._prefix = f"{prefix}."
        self._subjects = [f"{prefix}.{event.name}" for event in EVENTS]
        self._wanted = api.StreamConfig(
            name=durable.stream,
            description="Events of a chat bot for rosey-dbsvc",
            subjects=self._subjects,
            retention=api.RetentionPolicy.LIMITS,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.OLD,
            num_replicas=durable.replicas,
            max_age=durable.max_age,
            max_bytes=durable.max_bytes,
            duplicate_window=DUPLICATE_WINDOW,
            max_msgs=UNLIMITED,
            max_consumers=UNLIMITED,
        )

    async def prepare(self) -> None:
        """Create the stream, or check and maybe update an existing one.

        Raises NoJetStream, StreamRefused, or StreamDiffers with the name of each setting.
        """
        with api_errors(self._nc, self.name):
            found = await self._find_or_create()
            self._check_subjects(found)
            if differing := ", ".join(differences(found.config, self._wanted)):
                if not self._update:
                    raise errors.StreamDiffers(
                        f"the stream {self.name} has other settings: {differing}; "
                        "use those, or change it with `update`"
                    )
                await self._js.update_stream(updated(found.config, self._wanted))
                logger.info(
                    "updated the stream %(stream)s, which had %(settings)s",
                    stream=self.name,
                    settings=differing,
                )

    def _check_subjects(self, found: api.StreamInfo) -> None:
        """Check that the stream is only for this service: others are never updated."""
        if not all(subject.startswith(self._prefix) for subject in found.config.subjects or [""]):
            raise errors.StreamDiffers(
                f"the stream {self.name} captures subjects outside of {self._prefix}>: "
                "choose another with `stream`"
            )

    async def _find_or_create(self) -> api.StreamInfo:
        try:
            return await self._js.stream_info(self.name)
        except js_errors.NotFoundError:
            created = await self._js.add_stream(self._wanted)
            logger.info("created the stream %(stream)s", stream=self.name)
            self.created = str(created.created)
            return created

    async def state(self, *, create: bool = True) -> StreamState:
        """Return the state of the stream; create it if it is missing.

        Raises StreamDiffers if it does not capture the events, StreamRefused if it is missing and
        not to be created.
        """
        with api_errors(self._nc, self.name):
            info = await (self._find_or_create() if create else self._js.stream_info(self.name))
        self._check_subjects(info)
        if create and (lacking := set(self._subjects) - set(info.config.subjects or ())):
            raise errors.StreamDiffers(
                f"the stream {self.name} does not capture {min(lacking)}: change it with `update`"
            )
        clustered = bool(info.cluster and info.cluster.name)
        return StreamState(str(info.created), info.state.first_seq, info.state.last_seq, clustered)

    async def consume(self, sequence: int, since: str = "") -> str:
        """Create a consumer from a sequence or a time on; return the subject of its requests.

        It needs no acknowledgements, and the server deletes it when it is not used.
        """
        start: dict[str, Any] = {
            "deliver_policy": api.DeliverPolicy.BY_START_SEQUENCE,
            "opt_start_seq": sequence,
        }
        if since:
            start = {"deliver_policy": api.DeliverPolicy.BY_START_TIME, "opt_start_time": since}
        config = api.ConsumerConfig(
            description="rosey-dbsvc",
            ack_policy=api.AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_THRESHOLD,
            **start,
        )
        with api_errors(self._nc, self.name):
            consumer = await self._js.add_consumer(self.name, config)
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{consumer.name}"


def differences(found: api.StreamConfig, wanted: api.StreamConfig) -> list[str]:
    """Return each setting that differs, in words."""
    return [
        f"{label} {shown(found_value)} instead of {shown(wanted_value)}"
        for label, attribute, shown in CHECKED
        if (found_value := getattr(found, attribute))
        != (wanted_value := getattr(wanted, attribute))
        and (attribute != "subjects" or set(found_value or ()) != set(wanted_value))
    ]


def updated(found: api.StreamConfig, wanted: api.StreamConfig) -> api.StreamConfig:
    """Return the found settings with all checked ones as wanted."""
    return found.evolve(**{attribute: getattr(wanted, attribute) for _, attribute, _ in CHECKED})


def _size(limit: int) -> str:
    return "none" if limit == UNLIMITED else format_size(limit)


def _count(limit: int) -> str:
    return "any" if limit == UNLIMITED else str(limit)


def _word(value: object) -> str:
    return str(getattr(value, "value", value))


CHECKED: Final = (
    ("subjects", "subjects", lambda subjects: " ".join(subjects or ["none"])),
    ("retention", "retention", _word),
    ("storage", "storage", _word),
    ("discard", "discard", _word),
    ("replicas", "num_replicas", str),
    ("max age", "max_age", lambda age: format_duration(age) if age else "none"),
    ("max bytes", "max_bytes", _size),
    ("duplicate window", "duplicate_window", lambda window: format_duration(window or 0)),
    ("max messages", "max_msgs", _count),
    ("max messages per subject", "max_msgs_per_subject", _count),
    ("max message size", "max_msg_size", _size),
    ("no_ack", "no_ack", str),
    ("subject transform", "subject_transform", lambda transform: "some" if transform else "none"),
)
"""Settings that decide what the stream keeps: label, attribute of JetStream, formatter."""


@contextmanager
def api_errors(nc: Client, stream: str) -> Iterator[None]:
    """Raise JetStream's errors as errors of ours."""
    try:
        yield
    except (js_errors.ServiceUnavailableError, NoRespondersError) as error:
        raise _unavailable(error) from None
    except js_errors.APIError as error:
        if error.err_code in UNAVAILABLE:
            raise errors.Unavailable(error.description or "") from None
        reason = ": ".join(filter(None, (error.description, HINTS.get(error.err_code or 0))))
        raise errors.StreamRefused(f"JetStream refuses the stream {stream}: {reason}") from None
    except TimeoutError:
        raise errors.Unavailable from None
    except CONNECTION_ERRORS as error:
        if nc.is_closed:
            raise errors.ConnectionLost from None
        raise errors.Unavailable(error_text(error)) from None


def _unavailable(error: Exception) -> errors.DbsvcError:
    code = getattr(error, "err_code", None)
    if code is None:  # nobody listens to its subjects
        return errors.NoJetStream()
    if code in NOT_ENABLED:
        return errors.NoJetStream(
            "JetStream is not enabled for this account: "
            "add `jetstream: enabled` to it in the configuration of the NATS server"
        )
    return errors.Unavailable(getattr(error, "description", None) or "")
