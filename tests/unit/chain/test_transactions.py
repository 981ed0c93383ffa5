import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.chain.transactions import (
    GWEI,
    Fee,
    FeePolicy,
    Outcome,
    Transaction,
    bumped_fee,
    first_fee,
)
from rowen.protocol.errors import Unavailable
from rowen.protocol.signing import Key
from rowen.testing.chain import MemoryTransactionLog

KEY = Key(bytes([7]) * 32)
POLICY = FeePolicy(fee_max_wei=100 * GWEI)
FEES = st.integers(0, 200 * GWEI)


def transaction(nonce: int = 3, fee: Fee | None = None) -> Transaction:
    return Transaction(
        chain_id=31337,
        nonce=nonce,
        to=bytes([9]) * 20,
        data=b"\1\2\3",
        gas=50_000,
        fee=fee or Fee(30 * GWEI, GWEI),
    )


def test_a_transaction_reads_back_from_its_signed_bytes() -> None:
    assert Transaction.read(transaction().signed(KEY, "wish").raw) == transaction()


def test_another_library_finds_the_sender_and_the_hash_of_ours() -> None:
    from eth_account import Account

    attempt = transaction().signed(KEY, "wish")
    assert Account.recover_transaction(attempt.raw).lower() == "0x" + KEY.address.hex()
    assert (attempt.sender, attempt.nonce, attempt.intent) == (KEY.address, 3, "wish")


@given(base=FEES, tip=FEES)
def test_a_first_fee_lets_the_base_fee_double_within_the_ceiling(base: int, tip: int) -> None:
    if base + tip > POLICY.fee_max_wei:
        with pytest.raises(Unavailable, match="ceiling"):
            first_fee(base, tip, POLICY)
        return
    fee = first_fee(base, tip, POLICY)
    assert base + tip <= fee.total_max_wei <= POLICY.fee_max_wei
    assert fee.tip_max_wei <= fee.total_max_wei


@given(total=st.integers(1, 200 * GWEI), base=FEES, tip=FEES)
def test_a_bump_is_what_nodes_take_as_a_replacement_or_none(
    total: int, base: int, tip: int
) -> None:
    old = Fee(total, min(tip, total))
    fee = bumped_fee(old, base, tip, POLICY)
    if fee is not None:
        assert fee.total_max_wei * 100 >= old.total_max_wei * 110
        assert fee.tip_max_wei * 100 >= old.tip_max_wei * 110
        assert fee.tip_max_wei <= fee.total_max_wei <= POLICY.fee_max_wei


def test_a_bump_that_nodes_would_refuse_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="10 %"):
        FeePolicy(bump_percent=5)


async def test_the_log_refuses_two_nonces_for_an_intent_and_two_intents_for_a_nonce() -> None:
    """P10: whatever goes wrong above, one wish is one nonce."""
    log = MemoryTransactionLog()
    await log.record(transaction(3).signed(KEY, "wish"))
    await log.record(transaction(3, Fee(60 * GWEI, 2 * GWEI)).signed(KEY, "wish"))
    for other in (transaction(4).signed(KEY, "wish"), transaction(3).signed(KEY, "another")):
        with pytest.raises(ValueError, match="meets"):
            await log.record(other)
    await log.settle(KEY.address, 3, Outcome.SUCCEEDED)
    assert await log.pending(KEY.address) == []
    assert len(await log.attempts(KEY.address, "wish")) == 2
