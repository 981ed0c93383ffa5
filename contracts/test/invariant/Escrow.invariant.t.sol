// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Funding} from "../Funding.sol";
import {Book, Market} from "./Market.sol";
import {RelayMarket} from "./RelayMarket.sol";

contract EscrowInvariants is Funding {
    RelayMarket private market;

    function setUp() public override {
        super.setUp();
        market = new RelayMarket(escrow, usdc, domain);
        bytes4[] memory actions = new bytes4[](24);
        actions[0] = Market.lock.selector;
        actions[1] = Market.sell.selector;
        actions[2] = Market.claim.selector;
        actions[3] = Market.sweep.selector;
        actions[4] = Market.changePayout.selector;
        actions[5] = Market.requestUnlock.selector;
        actions[6] = Market.cancelUnlock.selector;
        actions[7] = Market.unlock.selector;
        actions[8] = Market.release.selector;
        actions[9] = Market.attack.selector;
        actions[10] = Market.dust.selector;
        actions[11] = Market.pass.selector;
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
        assertEq(usdc.balanceOf(address(escrow)), owed, "solvency, to the unit: it holds what it owes and was given");
    }

    /// @dev Each channel is where its own history put it: no action touched another's channel, no `claimed` fell.
    function checkedChannel(Book memory book) private view returns (uint256 open) {
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(book.id);
        assertEq(locked, book.deposited - book.refunded, "locked");
        assertEq(claimed, book.claimed, "claimed");
        assertEq(unlockAt, book.unlockAt, "unlockAt");
        assertLe(claimed, locked, "claimed within the lock");
        assertLe(claimed + book.refunded, book.deposited, "paid out no more than was paid in");
        assertLe(book.promised, locked, "the highest promise is covered");
        return locked - claimed;
    }

    /// @dev Credit and accumulator follow from the rows that paid.
    function checkedProvider(uint256 index) private view returns (uint256 credit) {
        address provider = market.providerAt(index);
        credit = escrow.creditOf(provider);
        assertEq(credit, market.earned(index) - market.swept(index), "credit");
        assertEq(escrow.accumulatorOf(provider), market.accumulator(index), "accumulator");
        assertEq(escrow.payoutOf(provider), market.payout(index), "payout address");
    }

    /// @dev In the end everybody leaves: every promise is paid in full, the rest goes home, and only gifts stay.
    function afterInvariant() public {
        for (uint256 i = 0; i < market.PROVIDERS(); ++i) {
            market.claim(i);
            market.sweep(i);
        }
        for (uint256 i = 0; i < market.CHANNELS(); ++i) {
            market.requestUnlock(i);
        }
        skip(UNLOCK_DELAY);
        for (uint256 i = 0; i < market.CHANNELS(); ++i) {
            market.unlock(i);
        }
        assertEq(usdc.balanceOf(address(escrow)), market.donated());
        Book[] memory books = market.books();
        for (uint256 i = 0; i < books.length; ++i) {
            assertEq(books[i].claimed + books[i].refunded, books[i].deposited, "nothing is left over");
        }
    }
}
