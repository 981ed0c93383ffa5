// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Calls a wallet's factory, so that nobody who holds money or rights has to.
///
/// @notice An ERC-6492 signature names a contract and what to call it with. Whoever sends the signature chooses both, and
/// might name the token and a transfer. The escrow must therefore never make that call itself: it would be made with the
/// escrow's rights. This contract makes it, and has none.
///
/// @dev Anybody may call. Nothing must ever be sent, approved or entrusted to this address.
contract WalletDeployer {
    /// @notice Calls `factory` with `data`. Whether that deployed a wallet shows in the code at the wallet's address, so a
    /// failure is no error: somebody else may have deployed it just before.
    function deploy(address factory, bytes calldata data) external {
        assembly ("memory-safe") {
            let input := mload(0x40)
            calldatacopy(input, data.offset, data.length)
            // Nothing is copied of what it answers, however long that is.
            pop(call(gas(), factory, 0, input, data.length, 0, 0))
        }
    }
}
