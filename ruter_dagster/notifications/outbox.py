"""Delivers notices to channels at least once, in order. A channel that does not accept them keeps its queue and delays no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.notifications.incidents import Notice

MAX_PER_DELIVERY = 20
"""Most notices of one channel in one delivery. Slack accepts about one message a second."""
MAX_SHORT_TITLE, MAX_SHORT_DETAILS = 100, 300
"""Characters of the title and the details of a notice whose full message was refused."""
MAX_WAITING = 2000
"""Most notices that wait for a channel. Beyond, the oldest are dropped."""


class DeliveryFailed(Exception):
    """A channel did not accept a notice. The message says why and what to do. The notice can be sent again."""


class NoticeRefused(DeliveryFailed):
    """A channel does not accept this notice because of its content, and may accept others."""


class PartlyDelivered(Exception):
    """Some receivers of a channel did not get a notice, and it is not sent again. The message names them and says what to do.

    `thread`: what `send` returns otherwise.
    """

    def __init__(self, thread: str, message: str) -> None:
        super().__init__(message)
        self.thread = thread


class Channel(Protocol):
    """Sends notices to one receiver, such as a Slack channel. `name` is unique."""

    @property
    def name(self) -> str: ...

    def accepts(self, kind: Kind) -> bool:
        """Whether notices of this kind go to this channel."""
        ...

    def send(self, notice: Notice, thread: str | None) -> str:
        """Sends a notice, and returns the thread of its incident.

        `thread` is what `send` returned for the incident's first notice; None if that was not delivered here. Raises
        `DeliveryFailed`, `NoticeRefused` or `PartlyDelivered`. A notice that is sent again has the same id.
        """
        ...


class Outbox(BaseModel, frozen=True):
    """Notices that wait for each channel, by the channel's name.

    `threads`: of each channel, the thread of each incident whose notices were delivered and that is not resolved yet.
    `failed`: channels that did not accept a notice in the last delivery.
    """

    waiting: dict[str, tuple[Notice, ...]] = {}
    threads: dict[str, dict[str, str]] = {}
    failed: tuple[str, ...] = ()

    def is_empty(self) -> bool:
        return not any(self.waiting.values())

    def with_notices(self, notices: Iterable[Notice], channels: Sequence[Channel]) -> Outbox:
        """The outbox with more notices. Later notices of an incident go where its first one went, by whatever settings."""
        waiting = dict(self.waiting)
        for notice in notices:
            names = [
                name for name in waiting.keys() | self.threads.keys() if self._has_incident(name, notice)
            ]
            earlier_channels = [channel.name for channel in channels if channel.name in names]
            accepting = [channel.name for channel in channels if channel.accepts(notice.problem.kind)]
            for name in earlier_channels or accepting:
                waiting[name] = (*waiting.get(name, ()), notice)[-MAX_WAITING:]
        return self.model_copy(update={"waiting": waiting})

    def _has_incident(self, channel: str, notice: Notice) -> bool:
        """Whether an earlier notice of the incident was delivered to the channel, or waits for it."""
        return notice.incident_id in self.threads.get(channel, {}) or any(
            waiting.incident_id == notice.incident_id for waiting in self.waiting.get(channel, ())
        )

    def _thread(self, channel: str, notice: Notice) -> str | None:
        return self.threads.get(channel, {}).get(notice.incident_id)

    def _delivered(self, channel: str, notice: Notice, thread: str) -> Outbox:
        """The outbox after a notice was delivered to the channel."""
        rest = [waiting for waiting in self.waiting[channel] if waiting.id != notice.id]
        threads = dict(self.threads.get(channel, {}))
        if notice.action == "resolved":
            threads.pop(notice.incident_id, None)
        else:
            threads.setdefault(notice.incident_id, thread)
        return self.model_copy(
            update={
                "waiting": {**self.waiting, channel: tuple(rest)},
                "threads": {**self.threads, channel: threads},
            }
        )


@dataclass
class Delivery:
    """The result of a delivery: the outbox after it, and the number of notices sent.

    `failures`: by channel, why it did not accept a notice. `missed`: receivers who did not get notices that others got.
    """

    outbox: Outbox
    sent: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)


def deliver(
    outbox: Outbox,
    channels: Sequence[Channel],
    save: Callable[[Outbox], None],
    has_time: Callable[[], bool] = lambda: True,
) -> Delivery:
    """Sends the waiting notices, each channel's in order, until the channel does not accept one.

    A notice that is refused because of its content is sent without its texts. If it is refused again, it waits with the later
    notices of its incident, and the channel gets those of other incidents.

    Args:
        outbox: The waiting notices. Those of channels that no longer exist are dropped.
        channels: The channels of the settings.
        save: Stores the outbox. It is called after each notice, so that a process that is killed repeats at most one.
        has_time: Whether there is time for one more notice.
    """
    by_name = {channel.name: channel for channel in channels}
    delivery = Delivery(_of_channels(outbox, by_name))
    # Those that failed last come last: a channel that does not answer uses up the time.
    for name in sorted(by_name, key=lambda name: (name in outbox.failed, name)):
        _deliver_to(by_name[name], delivery, save, has_time)
    failed = tuple(delivery.failures)
    if failed != delivery.outbox.failed or delivery.outbox.waiting.keys() != outbox.waiting.keys():
        delivery.outbox = delivery.outbox.model_copy(update={"failed": failed})
        save(delivery.outbox)
    return delivery


def _deliver_to(
    channel: Channel, delivery: Delivery, save: Callable[[Outbox], None], has_time: Callable[[], bool]
) -> None:
    refused: set[str] = set()
    attempts = 0
    for notice in delivery.outbox.waiting.get(channel.name, ()):
        if notice.incident_id in refused:
            continue
        if attempts == MAX_PER_DELIVERY or not has_time():
            return
        attempts += 1
        try:
            thread = _send(channel, notice, delivery)
        except DeliveryFailed as failure:
            delivery.failures.setdefault(channel.name, str(failure))
            if not isinstance(failure, NoticeRefused):
                return
            refused.add(notice.incident_id)
            continue
        delivery.outbox = delivery.outbox._delivered(channel.name, notice, thread)
        delivery.sent += 1
        save(delivery.outbox)


def _send(channel: Channel, notice: Notice, delivery: Delivery) -> str:
    """Sends a notice, without its texts if the channel refuses them. Returns the thread of the incident."""
    thread = delivery.outbox._thread(channel.name, notice)
    try:
        try:
            return channel.send(notice, thread)
        except NoticeRefused as refusal:
            return channel.send(_without_texts(notice, refusal), thread)
    except PartlyDelivered as result:
        delivery.missed.append(str(result))
        return result.thread


def _without_texts(notice: Notice, refusal: NoticeRefused) -> Notice:
    """The notice with the plain characters of its title alone. Dagster's UI shows the rest."""
    title = notice.problem.title.encode("ascii", "replace").decode()[:MAX_SHORT_TITLE]
    problem = notice.problem.model_copy(
        update={
            "title": title,
            "affected": (),
            "details": f"The full message was refused. {refusal}"[:MAX_SHORT_DETAILS],
            "log": "",
            "links": (),
            "remedy": "Read the rest in Dagster's UI",
        }
    )
    return notice.model_copy(update={"problem": problem, "reason": ""})


def _of_channels(outbox: Outbox, channels: Mapping[str, Channel]) -> Outbox:
    """The outbox without channels that no longer exist."""
    return outbox.model_copy(
        update={
            "waiting": {name: notices for name, notices in outbox.waiting.items() if name in channels},
            "threads": {name: threads for name, threads in outbox.threads.items() if name in channels},
        }
    )
