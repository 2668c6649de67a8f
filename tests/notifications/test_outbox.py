"""Notices are delivered in order and at least once, whatever fails. A broken channel delays no other."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.notifications.incidents import Notice
from ruter_dagster.notifications.outbox import DeliveryFailed, NoticeRefused, Outbox, deliver
from tests.notifications.notices import notice


class Recorder:
    """A channel that keeps what it is sent. `broken`: it accepts nothing. `refuses`: whether it refuses a notice's content."""

    refuses: Callable[[Notice], bool] = staticmethod(lambda notice: False)

    def __init__(self, name: str, kinds: tuple[Kind, ...] = ("run_failure",)) -> None:
        self.name, self.kinds, self.broken = name, kinds, False
        self.received: list[str] = []
        self.threads: dict[str, str | None] = {}

    def accepts(self, kind: Kind) -> bool:
        return kind in self.kinds

    def send(self, notice: Notice, thread: str | None) -> str:
        if self.broken:
            raise DeliveryFailed(f"{self.name} is broken")
        if self.refuses(notice):
            raise NoticeRefused(f"{self.name} refuses {notice.id}")
        self.received.append(notice.id)
        self.threads[notice.id] = thread
        return thread or f"thread of {notice.id}"


class Killed(BaseException):
    pass


class Store:
    """Keeps the outbox as text, as a database does. `kill_at`: the process ends before this write."""

    def __init__(self) -> None:
        self.text, self.writes, self.kill_at = Outbox().model_dump_json(), 0, -1

    def save(self, outbox: Outbox) -> None:
        self.writes += 1
        if self.writes == self.kill_at:
            raise Killed
        self.text = outbox.model_dump_json()

    def load(self) -> Outbox:
        return Outbox.model_validate_json(self.text)


LIFE = (notice("raised"), notice("worse", number=2), notice("resolved", number=3))


def test_notices_of_an_incident_share_a_thread() -> None:
    channel, store = Recorder("a"), Store()
    delivery = deliver(Outbox().with_notices(LIFE, [channel]), [channel], store.save)
    assert delivery.sent == 3
    assert channel.threads == {"abc-1": None, "abc-2": "thread of abc-1", "abc-3": "thread of abc-1"}
    assert store.load().threads == {"a": {}}, "a resolved incident is forgotten"


def test_broken_channel_keeps_its_notices_and_delays_no_other() -> None:
    broken, other, store = Recorder("a"), Recorder("b"), Store()
    broken.broken = True
    delivery = deliver(Outbox().with_notices(LIFE, [broken, other]), [broken, other], store.save)
    assert delivery.failures == {"a": "a is broken"}
    assert other.received == ["abc-1", "abc-2", "abc-3"]
    broken.broken = False
    deliver(store.load(), [broken, other], store.save)
    assert broken.received == other.received, "nothing is lost, and the other gets nothing twice"


def test_refused_notice_blocks_only_its_own_incident() -> None:
    channel, store = Recorder("a"), Store()
    channel.refuses = lambda notice: notice.incident_id == "abc"
    outbox = Outbox().with_notices([*LIFE, notice(incident="other")], [channel])
    delivery = deliver(outbox, [channel], store.save)
    assert channel.received == ["other-1"]
    assert delivery.failures == {"a": "a refuses abc-1"}
    channel.refuses = lambda notice: False
    deliver(store.load(), [channel], store.save)
    assert channel.received == ["other-1", "abc-1", "abc-2", "abc-3"]


def test_refused_notice_is_sent_without_its_texts() -> None:
    channel, store = Recorder("a"), Store()
    channel.refuses = lambda notice: bool(notice.problem.log)
    delivery = deliver(Outbox().with_notices(LIFE, [channel]), [channel], store.save)
    assert (channel.received, delivery.failures) == (["abc-1", "abc-2", "abc-3"], {})


def test_channel_that_failed_last_comes_last() -> None:
    slow, other, store = Recorder("a"), Recorder("b"), Store()
    slow.broken = True
    deliver(Outbox().with_notices(LIFE[:1], [slow, other]), [slow, other], store.save)
    time_left = iter([True, False])
    outbox = store.load().with_notices([notice(incident="new")], [slow, other])
    slow.broken = False
    deliver(outbox, [slow, other], store.save, has_time=lambda: next(time_left, False))
    assert (slow.received, other.received) == ([], ["abc-1", "new-1"])


def test_later_notices_go_where_the_first_one_went() -> None:
    old, new, store = Recorder("old"), Recorder("new", kinds=()), Store()
    deliver(Outbox().with_notices(LIFE[:1], [old, new]), [old, new], store.save)
    old.kinds, new.kinds = (), ("run_failure",)
    outbox = store.load().with_notices([LIFE[2], notice(incident="other")], [old, new])
    deliver(outbox, [old, new], store.save)
    assert (old.received, new.received) == (["abc-1", "abc-3"], ["other-1"])


def test_notices_of_a_removed_channel_are_dropped() -> None:
    removed, other, store = Recorder("a"), Recorder("b"), Store()
    deliver(Outbox().with_notices(LIFE, [removed]), [other], store.save)
    assert store.load().waiting == {}


@pytest.mark.parametrize("kill_at", range(1, 8))
def test_killed_delivery_repeats_at_most_one_notice(kill_at: int) -> None:
    channels, store = [Recorder("a"), Recorder("b")], Store()
    store.save(Outbox().with_notices(LIFE, channels))
    store.kill_at = store.writes + kill_at
    attempts = 0
    while not store.load().is_empty() and attempts < 3:
        attempts += 1
        try:
            deliver(store.load(), channels, store.save)
        except Killed:
            store.kill_at = -1
    for channel in channels:
        assert list(dict.fromkeys(channel.received)) == ["abc-1", "abc-2", "abc-3"], "all, in order"
    assert sum(len(channel.received) for channel in channels) <= 7


@pytest.mark.parametrize("seed", range(20))
def test_random_outages_and_kills_lose_nothing(seed: int) -> None:
    chance = random.Random(seed)
    channels, store = [Recorder("a"), Recorder("b")], Store()
    expected: list[str] = []
    for number in range(40):
        life = (notice("raised", str(number)), notice("resolved", str(number), 2))
        expected += [each.id for each in life]
        store.text = store.load().with_notices(life, channels).model_dump_json()
        for channel in channels:
            channel.broken = chance.random() < 0.3
        store.kill_at = store.writes + chance.randrange(1, 8)
        with suppress(Killed):
            deliver(store.load(), channels, store.save)
    store.kill_at = -1
    for channel in channels:
        channel.broken = False
    for _ in range(10):
        deliver(store.load(), channels, store.save)
    for channel in channels:
        assert list(dict.fromkeys(channel.received)) == expected
