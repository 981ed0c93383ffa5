"""How well a variant knows a fixed text: the log-likelihood of each of its tokens.

Two precisions of one model read the same text; the coarser one is as much worse as it finds the
text less likely. llama.cpp tells no likelihoods of a prompt, so each token is asked for by itself:
one token is generated after those before it, with a bias that leaves no other choice, and its
likelihood is told from the logits before any bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, runtime_checkable

import msgspec

from rowen.protocol.errors import Unavailable

TEXT = """\
The miller kept two ledgers. In the first he wrote what each farmer brought: so many sacks
of rye, so many of barley, and the day on which they came. In the second he wrote what he
gave back, and beside it the share that stayed with him for the grinding. Nobody could read
his hand, but everyone could count the notches on the tally sticks, which were split down
the middle so that the farmer took one half home and the miller hung the other above his
door. If a notch was cut on one half only, the two halves no longer matched, and the whole
village saw who had cut it.

One autumn the river ran low. A wheel that turned for ten hours in spring now turned for
three, and the queue of carts reached as far as the bridge. The miller's daughter proposed a
rule: whoever waits may leave a sack and be told the hour at which it will be flour, and if
the hour passes, the grinding costs nothing. Her father laughed at first. Then he measured
the water, divided it by the number of sacks, and found that the rule would cost him two
days in the year, while the waiting cost the farmers thirty.

def share(sacks: int, toll: int) -> int:
    return -(-sacks * toll // 16)

Par un matin de novembre, le premier sac fut prêt à l'heure dite. 1, 1, 2, 3, 5, 8, 13, 21,
34.
"""
"""Prose, a line of code, another language, numbers: what answers are made of. Never change it; a
text that differs has scores that cannot be compared."""

TEXT_SHA256 = sha256(TEXT.encode()).hexdigest()

_FORCE = 1e9


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model made of a text.

    Attributes:
        tokens: The text, as its tokenizer cuts it; the first has no likelihood.
        log_likelihoods: Natural logarithm of the probability of each further token.
    """

    tokens: tuple[int, ...]
    log_likelihoods: tuple[float, ...]


@runtime_checkable
class Scorer(Protocol):
    """An engine that can tell likelihoods."""

    async def score(self, text: str) -> Scores:
        """How likely each token of a text is after those before it.

        Raises:
            Unavailable: The engine failed.
            UserError: The text does not fit its context.
        """
        ...


class _Token(msgspec.Struct, frozen=True):
    id: int
    logprob: float


class _Logprobs(msgspec.Struct, frozen=True):
    content: tuple[_Token, ...]


class _Choice(msgspec.Struct, frozen=True):
    logprobs: _Logprobs


class _Scored(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]


_scored = msgspec.json.Decoder(_Scored)


def score_request(tokens: list[int], token: int, *, slot: int) -> bytes:
    """Asks llama.cpp for the likelihood of ``token`` after ``tokens``."""
    return msgspec.json.encode(
        {
            "prompt": tokens,
            "n_predict": 1,
            "n_probs": 1,
            "temperature": 0.0,
            "logit_bias": [[token, _FORCE]],
            "id_slot": slot,
            "cache_prompt": True,
            "stream": False,
        }
    )


def read_score(answer: bytes, token: int) -> float:
    """The likelihood in llama.cpp's answer.

    Raises:
        Unavailable: It is about another token, or about none.
    """
    try:
        (found,) = _scored.decode(answer).choices[0].logprobs.content
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise Unavailable(f"the engine tells no likelihood: {answer[:200]!r}") from error
    if found.id != token:
        raise Unavailable(f"the engine was asked about token {token} and tells of {found.id}")
    return found.logprob
