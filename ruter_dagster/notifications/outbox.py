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
MAX_WAITING = 2000
"""Most notices that wait for a channel. Beyond, the oldest are dropped."""


class DeliveryFailed(Exception):
    """A channel did not accept a notice. The message says why and what to do. The notice can be sent again."""


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
        `DeliveryFailed`. A notice that is sent again has the same id.
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

    def waits(self) -> bool:
        return any(self.waiting.values())

    def with_notices(self, notices: Iterable[Notice], channels: Sequence[Channel]) -> Outbox:
        """The outbox with more notices. Later notices of an incident go where its first one went, by whatever settings."""
        waiting = dict(self.waiting)
        for notice in notices:
            names = [name for name in waiting.keys() | self.threads.keys() if self._knows(name, notice)]
            known = [channel.name for channel in channels if channel.name in names]
            chosen = known or [channel.name for channel in channels if channel.accepts(notice.problem.kind)]
            for name in chosen:
                waiting[name] = (*waiting.get(name, ()), notice)[-MAX_WAITING:]
        return self.model_copy(update={"waiting": waiting})

    def _knows(self, channel: str, notice: Notice) -> bool:
        """Whether an earlier notice of the incident was delivered to the channel, or waits for it."""
        return notice.incident_id in self.threads.get(channel, {}) or any(
            waiting.incident_id == notice.incident_id for waiting in self.waiting.get(channel, ())
        )

    def _thread(self, channel: str, notice: Notice) -> str | None:
        return self.threads.get(channel, {}).get(notice.incident_id)

    def _delivered(self, channel: str, thread: str) -> Outbox:
        """The outbox after its channel's first notice was delivered."""
        notice, *rest = self.waiting[channel]
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
    """The result of a delivery: the outbox after it, the number of notices sent, and why channels did not accept others."""

    outbox: Outbox
    sent: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def deliver(
    outbox: Outbox,
    channels: Sequence[Channel],
    save: Callable[[Outbox], None],
    has_time: Callable[[], bool] = lambda: True,
) -> Delivery:
    """Sends the waiting notices, each channel's in order, until the channel does not accept one.

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
    for notice in delivery.outbox.waiting.get(channel.name, ())[:MAX_PER_DELIVERY]:
        if not has_time():
            return
        try:
            thread = channel.send(notice, delivery.outbox._thread(channel.name, notice))
        except DeliveryFailed as failure:
            delivery.failures[channel.name] = str(failure)
            return
        delivery.outbox = delivery.outbox._delivered(channel.name, thread)
        delivery.sent += 1
        save(delivery.outbox)


def _of_channels(outbox: Outbox, channels: Mapping[str, Channel]) -> Outbox:
    """The outbox without channels that no longer exist."""
    return outbox.model_copy(
        update={
            "waiting": {name: notices for name, notices in outbox.waiting.items() if name in channels},
            "threads": {name: threads for name, threads in outbox.threads.items() if name in channels},
        }
    )
