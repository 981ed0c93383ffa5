// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EscrowTest} from "../EscrowTest.sol";

/// @notice What each transaction costs its sender, written to `snapshots/Gas.json`.
/// @dev In isolation every call runs as a transaction of its own, so storage is cold, and refunds and the intrinsic gas
/// (21,000 and the calldata) are in. `tools/gas_on_anvil.py` checks one figure against a node's receipt. Isolation
/// is not inherited: each of the contracts asks for it.
abstract contract GasTest is EscrowTest {
    uint96 internal constant LOCKED = 25e6;

    /// @dev Only what is shipped counts: `npm run snapshot`.
    function setUp() public virtual override {
        vm.skip(!isShipped());
        super.setUp();
    }

    function transactionGas() internal view returns (uint256) {
        return vm.lastCallGas().gasTotalUsed;
    }

    function record(string memory name) internal {
        vm.snapshotValue("Gas", name, transactionGas());
    }
}
