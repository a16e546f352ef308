"""Keys and turns."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.serving.app import Keys
from reasoner.serving.errors import ApiError
from reasoner.serving.service import ANYONE, Turns
from reasoner.testing.support import turns

ALICE, BOB = "alice-0123456789", "bob-0123456789"
KEYS = Keys({"alice": ALICE, "bob": BOB})


def test_a_key_names_its_client() -> None:
    for text, name in ((ALICE, "alice"), (BOB, "bob")):
        assert KEYS.client(f"Bearer {text}") == KEYS.client(f"bearer  {text} ") == name
    assert Keys().client(None) == Keys().client("Bearer anything") == ANYONE
    with pytest.raises(UsageError, match="two keys are the same"):
        Keys({"alice": ALICE, "bob": ALICE})


@given(
    st.one_of(
        st.none(), st.text(max_size=40), st.text(max_size=40).map("Bearer {}".format)
    )
)
def test_nothing_else_is_a_key_and_it_is_never_repeated(header: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        KEYS.client(header)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    secret = (header or "").partition(" ")[2]
    assert len(secret) < 6 or secret not in refused.value.message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shortly", "has 7 characters: it must have at least 8"),
        ("ünicode-key-0123", "must be printable ASCII"),
        (12345678, "must be a text$"),
    ],
)
def test_a_key_that_cannot_be_sent_or_is_guessed_is_refused(
    text: object, why: str
) -> None:
    with pytest.raises(UsageError, match=f"the key mine {why}") as refused:
        Keys({"mine": text})
    assert not text or str(text) not in str(refused.value)


@given(st.lists(st.sampled_from(["leave", "end"]), max_size=12), st.data())
def test_whatever_leaves_while_it_waits_or_is_served_frees_its_turn(
    acts: list[str], data: st.DataObject
) -> None:
    async def serve() -> None:
        queue = Turns(2, 99)
        ends = [asyncio.Event() for _ in range(9)]

        async def ask(number: int) -> None:
            async with queue:
                assert queue.running <= 2
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
        assert all(task.cancelled() or not task.exception() for task in tasks)
        assert (queue.running, queue.queued) == (0, 0)

    asyncio.run(serve())
