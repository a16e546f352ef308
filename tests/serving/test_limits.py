"""Keys and turns."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.serving.errors import ApiError
from reasoner.serving.limits import ANYONE, Keys, Turns
from tests.helpers import turns

ALICE, BOB = "alice-0123456789", "bob-0123456789"


def keys() -> Keys:
    return Keys({"alice": ALICE, "bob": BOB})


@pytest.mark.parametrize(("text", "name"), [(ALICE, "alice"), (BOB, "bob")])
def test_a_key_names_its_client(text: str, name: str) -> None:
    known = keys()
    assert known.client(f"Bearer {text}") == known.client(f"bearer  {text} ") == name


@given(st.one_of(st.none(), st.text(max_size=40), st.text(max_size=40).map("Bearer {}".format)))
def test_nothing_else_is_a_key_and_it_is_never_repeated(header: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        keys().client(header)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    secret = (header or "").partition(" ")[2]
    assert len(secret) < 6 or secret not in refused.value.message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 0 characters: it must have at least 8"),
        ("shortly", "has 7 characters: it must have at least 8"),
        ("has a blank in it", "must be printable ASCII without blanks"),
        ("ünicode-key-0123", "must be printable ASCII"),
        ("line\nbreak-0123", "must be printable ASCII"),
        (12345678, "must be a text$"),
    ],
)
def test_a_key_that_cannot_be_sent_or_is_guessed_is_refused(text: object, why: str) -> None:
    with pytest.raises(UsageError, match=f"the key mine {why}") as refused:
        Keys({"mine": text})
    assert not text or str(text) not in str(refused.value)


def test_two_clients_have_two_keys() -> None:
    with pytest.raises(UsageError, match="two keys are the same"):
        Keys({"alice": ALICE, "bob": ALICE})


def test_without_keys_everybody_is_the_same_client() -> None:
    assert Keys().client(None) == Keys().client("Bearer anything") == ANYONE


async def served(turn: Turns, client: str, order: list[str]) -> None:
    async with turn.turn(client):
        order.append(client)
        await asyncio.sleep(0)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.integers(1, 3))
def test_no_client_is_served_twice_before_another_that_waits(arrivals: list[str], concurrent: int) -> None:
    """The turns that are taken while all wait: between two of one client, every other that still waits has one."""

    async def serve() -> list[str]:
        queue = Turns(concurrent, len(arrivals))
        async with AsyncExitStack() as before:
            for _ in range(concurrent):
                await before.enter_async_context(queue.turn("first"))
            order: list[str] = []
            waiting = [asyncio.ensure_future(served(queue, name, order)) for name in arrivals]
            await turns(3)
            assert queue.queued == len(arrivals)
        await asyncio.gather(*waiting)
        assert (queue.running, queue.queued) == (0, 0)
        return order

    order = asyncio.run(serve())
    assert sorted(order) == sorted(arrivals)
    for at, name in enumerate(order):
        following = order.index(name, at + 1) if name in order[at + 1 :] else None
        if following is not None:
            assert set(order[following:]) - {name} <= set(order[at + 1 : following])


@given(st.lists(st.sampled_from(["leave", "end"]), max_size=12), st.data())
def test_whatever_leaves_while_it_waits_or_is_served_frees_its_turn(acts: list[str], data: st.DataObject) -> None:
    async def serve() -> None:
        queue = Turns(2, 99)
        ends = [asyncio.Event() for _ in range(9)]

        async def ask(number: int) -> None:
            async with queue.turn("abc"[number % 3]):
                await ends[number].wait()

        tasks = [asyncio.ensure_future(ask(number)) for number in range(9)]
        await turns(2)
        for act in acts:
            number = data.draw(st.integers(0, 8))
            if act == "leave":
                tasks[number].cancel()
            else:
                ends[number].set()
            # Now and then several leave within one turn of the loop.
            await turns(data.draw(st.integers(0, 3)))
        for event in ends:
            event.set()
        await asyncio.wait(tasks)
        assert (queue.running, queue.queued) == (0, 0)

    asyncio.run(serve())
