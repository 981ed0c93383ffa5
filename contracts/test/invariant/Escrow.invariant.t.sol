// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestUSDC} from "../../src/test-token/TestUSDC.sol";
import {Funding} from "../Funding.sol";
import {HookUSDC} from "../Tokens.sol";
import {Actors} from "./Actors.sol";
import {Book} from "./Books.sol";
import {Market} from "./Market.sol";
import {RelayMarket} from "./RelayMarket.sol";

/// @notice The sentences of E1 … E20 are in the README beside this file.
contract EscrowInvariants is Funding {
    RelayMarket internal market;

    function setUp() public virtual override {
        super.setUp();
        market = new RelayMarket(escrow, usdc, domain);
        bytes4[] memory actions = new bytes4[](25);
        actions[0] = Market.lock.selector;
        actions[1] = Market.sell.selector;
        actions[2] = Market.claim.selector;
        actions[3] = Market.sweep.selector;
        actions[4] = Market.requestPayout.selector;
        actions[5] = Market.requestUnlock.selector;
        actions[6] = Market.cancelUnlock.selector;
        actions[7] = Market.unlock.selector;
        actions[8] = Market.release.selector;
        actions[9] = Market.attack.selector;
        actions[10] = Market.dust.selector;
        actions[11] = Actors.pass.selector;
        // Twice as often: without funds and promises the others have nothing to do.
        actions[12] = Market.lock.selector;
        actions[13] = Market.sell.selector;
        actions[14] = RelayMarket.wish.selector;
        actions[15] = RelayMarket.wish.selector;
        actions[16] = RelayMarket.send.selector;
        actions[17] = RelayMarket.send.selector;
        actions[18] = RelayMarket.lockMany.selector;
        actions[19] = RelayMarket.askOut.selector;
        actions[20] = RelayMarket.revoke.selector;
        actions[21] = RelayMarket.askOut.selector;
        actions[22] = RelayMarket.sendCancellation.selector;
        actions[23] = RelayMarket.changeMind.selector;
        actions[24] = Market.settlePayout.selector;
        targetContract(address(market));
        targetSelector(FuzzSelector(address(market), actions));
    }

    /// @dev One campaign for all: each would make the same calls.
    function invariant_the_books_balance() public view {
        Book[] memory books = market.books();
        uint256 owed = market.donated();
        for (uint256 i = 0; i < books.length; ++i) {
            owed += checkedChannel(books[i]);
        }
        for (uint256 i = 0; i < market.PROVIDERS(); ++i) {
            owed += checkedProvider(i);
        }
        assertEq(usdc.balanceOf(address(escrow)), owed, "E1");
        checkMore();
    }

    function checkMore() internal view virtual {}

    /// @dev Each channel is where its own history put it: no action touched another's channel, no `claimed` fell.
    function checkedChannel(Book memory book) private view returns (uint256 open) {
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(book.id);
        assertEq(locked, book.deposited - book.refunded, "E2");
        assertEq(claimed, book.claimed, "E3");
        assertEq(unlockAt, book.unlockAt, "E4");
        assertLe(claimed, locked, "E5");
        assertLe(claimed + book.refunded, book.deposited, "E6");
        assertLe(book.promised, locked, "E7");
        return locked - claimed;
    }

    /// @dev Credit and accumulator follow from the rows that paid.
    function checkedProvider(uint256 index) private view returns (uint256 credit) {
        address provider = market.providerAt(index);
        credit = escrow.creditOf(provider);
        assertEq(credit, market.earned(index) - market.swept(index), "E8");
        assertEq(escrow.accumulatorOf(provider), market.accumulator(index), "E9");
        assertEq(escrow.payoutOf(provider), market.payout(index), "E10");
        (address next, uint64 applyAt) = escrow.pendingPayoutOf(provider);
        assertEq(next, market.nextPayout(index), "E10");
        assertEq(applyAt, market.payoutAt(index), "E10");
        uint256 slot = uint256(vm.load(address(escrow), keccak256(abi.encode(provider, 3))));
        uint256 payout = uint160(market.payout(index));
        assertEq(slot, credit == 0 ? 0 : credit | payout << 96, "E11");
    }

    /// @dev In the end everybody leaves: every promise is paid in full, the rest goes home, and only gifts stay.
    function afterInvariant() public {
        market.askAllOut();
        skip(UNLOCK_DELAY);
        market.letAllOut();
        assertEq(usdc.balanceOf(address(escrow)), market.donated(), "E18");
        Book[] memory books = market.books();
        for (uint256 i = 0; i < books.length; ++i) {
            assertEq(books[i].claimed + books[i].refunded, books[i].deposited, "E18");
        }
    }
}

/// @notice The same market with a token that calls somebody in the middle of each transfer, as ERC-777 does.
contract HookedEscrowInvariants is EscrowInvariants {
    function newUsdc() internal override returns (TestUSDC) {
        return new HookUSDC();
    }

    function setUp() public override {
        super.setUp();
        bytes4[] memory actions = new bytes4[](4);
        for (uint256 i = 0; i < actions.length; ++i) {
            actions[i] = RelayMarket.reenter.selector;
        }
        targetSelector(FuzzSelector(address(market), actions));
    }

    /// @dev E19 would hold of a token that never calls.
    function test_the_token_calls_in_the_middle_of_a_transfer() public {
        HookUSDC token = HookUSDC(address(usdc));
        token.setHook(address(escrow), abi.encodeCall(escrow.minLock, ()));
        lockAsAlice(MIN_LOCK);
        assertEq(token.successes(), 1, "a call that is allowed");
        market.reenter(2);
        lockAsAlice(MIN_LOCK);
        assertEq(token.attempts(), 2);
        assertEq(token.successes(), 1, "a lock is not");
    }

    function checkMore() internal view override {
        assertEq(HookUSDC(address(usdc)).successes(), 0, "E19");
    }
}
