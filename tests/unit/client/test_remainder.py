"""What another provider is asked for when one stopped before the end."""

import pytest

from rowen.client.remainder import is_list, items_left, remainder, whole_items
from rowen.protocol.jobs import (
    ChatInput,
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    Message,
    OcrInput,
)

QUESTION = Message("user", "Why?")
CHAT = ChatInput(messages=(QUESTION,))
COMPLETION = CompletionInput(prompt="Hay smells ")
EMBEDDINGS = EmbeddingsInput(texts=("a", "b", "c"))
PAGES = OcrInput(pages=(b"1", b"2", b"3"))


@pytest.mark.parametrize("asked", [CHAT, COMPLETION, EMBEDDINGS, PAGES])
def test_of_nothing_answered_all_is_left(asked: JobInput) -> None:
    assert remainder(asked, "") is asked


def test_a_chat_goes_on_with_the_answer_as_the_last_turn() -> None:
    begun = remainder(CHAT, "Because")
    assert begun == ChatInput(messages=(QUESTION, Message("assistant", "Because")))
    # A second provider's part is added to the same turn: a chat has no two answers in a row.
    assert remainder(begun, " of") == ChatInput(
        messages=(QUESTION, Message("assistant", "Because of"))
    )


def test_a_completion_goes_on_after_its_text() -> None:
    assert remainder(COMPLETION, "sweet") == CompletionInput(prompt="Hay smells sweet")


@pytest.mark.parametrize(
    ("asked", "text", "whole", "left"),
    [
        (EMBEDDINGS, "00000000\n0000", "00000000\n", EmbeddingsInput(texts=("b", "c"))),
        (PAGES, "one\ntwo\f\f", "one\ntwo\f\f", OcrInput(pages=(b"3",))),
        (PAGES, "one", "", PAGES),
    ],
)
def test_a_list_goes_on_with_the_first_item_that_is_not_whole(
    asked: JobInput, text: str, whole: str, left: JobInput
) -> None:
    assert is_list(asked)
    assert whole_items(asked, text) == whole
    assert remainder(asked, whole) == left
    assert items_left(asked, whole) == items_left(left, "")


def test_a_list_with_all_items_answered_leaves_none() -> None:
    assert items_left(PAGES, "a\fb\fc\f") == 0


def test_a_text_is_one_item_however_long() -> None:
    assert not is_list(CHAT)
    assert items_left(CHAT, "a\nb\n\f") == 1
