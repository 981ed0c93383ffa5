// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestUSDC} from "../../src/test-token/TestUSDC.sol";
import {Actors} from "./Actors.sol";

/// @notice One channel as a bystander's plain books see it.
struct Book {
    bytes32 id;
    address payer;
    address signer;
    uint256 provider; // its index
    uint256 key; // the signer's
    uint256 payerKey;
    uint256 deposited;
    uint256 refunded;
    uint256 claimed;
    uint256 unlockAt;
    uint96 promised; // the highest total an honest client signed and no release gave up; always covered by the lock
}

/// @notice What a channel must be in for an action to find something to do.
enum State {
    Sellable,
    Owing,
    Open,
    Leaving
}

/// @notice The books of all channels.
/// @dev Most actions choose among the channels that they can do something with. Chosen blindly, a campaign of 64 calls over 16
/// channels hardly ever had two that meet, and bugs planted in the contract went unnoticed.
abstract contract Books is Actors {
    uint256 public constant CHANNELS = 16;

    Book[] internal _books;

    constructor(uint256 providers, TestUSDC usdc_, bytes32 domain) Actors(providers, usdc_, domain) {}

    function books() external view returns (Book[] memory) {
        return _books;
    }

    function pick(uint256 seed) internal view returns (Book storage book, uint256 index) {
        index = seed % CHANNELS;
        book = _books[index];
    }

    /// @dev The first in that state from a random one on; that one if there is none.
    function pickIn(State state, uint256 seed) internal view returns (Book storage book, uint256 index) {
        for (uint256 i = 0; i < CHANNELS; ++i) {
            (book, index) = pick(seed % CHANNELS + i);
            if (isIn(state, book)) return (book, index);
        }
        return pick(seed);
    }

    function isIn(State state, Book storage book) private view returns (bool) {
        if (state == State.Leaving) return book.unlockAt != 0;
        if (state == State.Owing) return book.promised > book.claimed;
        if (book.unlockAt != 0) return false;
        return lockedOf(book) > (state == State.Sellable ? book.promised : book.claimed);
    }

    function lockedOf(Book storage book) internal view returns (uint96) {
        return uint96(book.deposited - book.refunded);
    }

    function providerOf(Book storage book) internal view returns (address) {
        return _providers[book.provider].addr;
    }
}
