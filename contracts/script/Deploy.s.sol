// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Script} from "forge-std/Script.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {RowenStake} from "../src/RowenStake.sol";

/// @notice Deploys the escrow for one token and the stake beside it, with CREATE2: the same parameters give the same
/// addresses on every chain that has the usual deployer (0x4e59b44847b379578588920cA78FbF26c0B4956C), whoever sends them.
///
///     TOKEN=0x… UNLOCK_DELAY=21600 PAYOUT_DELAY=172800 MIN_LOCK=1000000 \
///     UNBOND_DELAY=1209600 PENALTY=100000000 \
///         tools/foundry forge script script/Deploy.s.sol --rpc-url … --broadcast --account …
contract Deploy is Script {
    error DeploymentFailed(string name, bytes answer);

    function run() external returns (RowenEscrow escrow, RowenStake stake) {
        IERC20 token = IERC20(vm.envAddress("TOKEN"));
        uint64 unlockDelay = SafeCast.toUint64(vm.envUint("UNLOCK_DELAY"));
        uint64 payoutDelay = SafeCast.toUint64(vm.envUint("PAYOUT_DELAY"));
        uint96 minLock = SafeCast.toUint96(vm.envUint("MIN_LOCK"));
        uint64 unbondDelay = SafeCast.toUint64(vm.envUint("UNBOND_DELAY"));
        uint96 penalty = SafeCast.toUint96(vm.envUint("PENALTY"));

        vm.startBroadcast();
        escrow = RowenEscrow(_deploy("RowenEscrow", abi.encode(token, unlockDelay, payoutDelay, minLock)));
        stake = RowenStake(_deploy("RowenStake", abi.encode(escrow, unbondDelay, penalty)));
        vm.stopBroadcast();
    }

    /// @dev The bytecode that is committed, not what forge would compile here: the addresses depend on it.
    function _deploy(string memory name, bytes memory arguments) private returns (address) {
        // forge-lint: disable-next-line(unsafe-cheatcode)
        string memory json = vm.readFile(string.concat("../node/rowen/chain/abi/", name, ".json"));
        bytes memory code = bytes.concat(vm.parseJsonBytes(json, ".bytecode"), arguments);
        (bool isDone, bytes memory made) = CREATE2_FACTORY.call(bytes.concat(bytes32(0), code));
        require(isDone && made.length == 20, DeploymentFailed(name, made));
        // forge-lint: disable-next-line(unsafe-typecast)
        return address(bytes20(made));
    }
}
