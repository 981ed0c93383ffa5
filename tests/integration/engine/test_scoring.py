"""Likelihoods from the real llama.cpp."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from tests.integration.engine.coarsening import coarsen

from rowen.engine.llama import LlamaEngine, open_llama
from rowen.engine.models import SMOLLM2
from rowen.engine.scoring import TEXT_SHA256, Scorer
from rowen.protocol.errors import UserError
from rowen.provider.bench import measure_quality
from rowen.provider.measurement import Quality, quality_loss

SENTENCE = "The capital of France is Paris, and the capital of Italy is Rome."


NONSENSE = "Paris the of, is France capital Rome. is and capital the of Italy"


@asynccontextmanager
async def loaded(model_file: Path, context_units: int = 256) -> AsyncIterator[LlamaEngine]:
    async with open_llama(
        model_file,
        model=SMOLLM2.model,
        precision=SMOLLM2.precision,
        weights_digest=sha256(await trio.to_thread.run_sync(model_file.read_bytes)).digest(),
        concurrency=1,
        context_units=context_units,
    ) as engine:
        yield engine


async def quality(model_file: Path) -> Quality:
    async with loaded(model_file, 512) as llama:
        return await measure_quality(llama)


async def test_likelihoods_are_told_for_every_token_and_do_not_depend_on_the_bias(
    model_file: Path,
) -> None:
    """What is likely is likelier; the same question twice has the same answer."""
    async with loaded(model_file) as llama:
        assert isinstance(llama, Scorer)
        scores = await llama.score(SENTENCE)
        assert await llama.score(SENTENCE) == scores
        nonsense = await llama.score(NONSENSE)
        with pytest.raises(UserError, match="the context holds"):
            await llama.score("one two three " * llama.info.context_units)
    assert len(scores.log_likelihoods) == len(scores.tokens) - 1
    assert all(-40 < one <= 0 for one in scores.log_likelihoods)
    mean = sum(scores.log_likelihoods) / len(scores.log_likelihoods)
    worse = sum(nonsense.log_likelihoods) / len(nonsense.log_likelihoods)
    assert worse < mean - 1
    # "is" comes after "Italy" nearly for sure; a forced token would be certain everywhere.
    assert max(scores.log_likelihoods) > math.log(0.5)
    assert min(scores.log_likelihoods) < math.log(0.1)


@pytest.mark.slow
async def test_a_coarser_precision_finds_the_fixed_text_less_likely(
    model_file: Path, tmp_path: Path
) -> None:
    """Three of four bits of a weight: the same model, sold as what it is not any more."""
    coarser = tmp_path / "coarser.gguf"
    coarsen(model_file, coarser)
    whole, less = await quality(model_file), await quality(coarser)
    loss = quality_loss(less, whole)
    assert loss is not None
    worse, apart = loss
    # Measured: 2.52 worse and 2.82 apart, in nats a token.
    assert 500_000 < worse < apart
    assert quality_loss(whole, whole) == (0, 0)


def test_the_text_is_the_one_that_scores_are_compared_on() -> None:
    """Scores of another text cannot be compared; a change of it would be no accident."""
    assert TEXT_SHA256 == "9223e0ef166829710c16df0ff2726eae6db19d62f09cd9159ce7d2e2182292a2"
