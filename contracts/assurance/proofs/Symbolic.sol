// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {IRowenEscrow} from "../../src/interfaces/IRowenEscrow.sol";
import {Code} from "./Code.sol";

/// @notice What Halmos answers at its own address: values that stand for all values at once.
interface Symbolic {
    function createUint(uint256 bits, string memory name) external pure returns (uint256);
    function createUint256(string memory name) external pure returns (uint256);
    function createBytes(uint256 length, string memory name) external pure returns (bytes memory);
    function createBytes32(string memory name) external pure returns (bytes32);
    function createAddress(string memory name) external pure returns (address);

    /// @notice From now on every slot of `account` holds any value.
    function enableSymbolicStorage(address account) external;
}

/// @notice A token that moves exact amounts or fails, asks for no allowance, and whose ERC-3009 moves whatever it likes.
/// @dev Any honest token does less for strangers, so what holds with this one holds with it.
contract AnyToken {
    Symbolic private constant SVM = Symbolic(0xF3993A62377BCd56AE39D773740A5390411E8BC9);

    mapping(address account => uint256) public balanceOf;

    function transfer(address to, uint256 amount) external returns (bool) {
        return move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return move(from, to, amount);
    }

    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external pure {}

    function receiveWithAuthorization(
        address from,
        address to,
        uint256,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        move(from, to, SVM.createUint256("moved by ERC-3009"));
    }

    function move(address from, address to, uint256 amount) public returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}

/// @notice Stands at Permit2's address and moves whatever it likes.
contract AnyPermit2 {
    Symbolic private constant SVM = Symbolic(0xF3993A62377BCd56AE39D773740A5390411E8BC9);

    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes32,
        string calldata,
        bytes calldata
    ) external {
        AnyToken(permit.permitted.token).move(owner, details.to, SVM.createUint256("moved by Permit2"));
    }
}

/// @notice Deploys, and short names for symbolic values.
abstract contract Proof is Test {
    Symbolic internal constant SVM = Symbolic(0xF3993A62377BCd56AE39D773740A5390411E8BC9);

    /// @param code Of `Code.sol`, which is written before each run: the bytecode that is deployed, or one with planted bugs.
    function deploy(bytes memory code, bytes memory arguments) internal returns (address made) {
        code = bytes.concat(code, arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        assert(made != address(0));
    }

    function deployEscrow(address token) internal returns (IRowenEscrow) {
        bytes memory arguments = abi.encode(token, uint64(6 hours), uint64(2 days), uint96(1e6));
        return IRowenEscrow(deploy(Code.ESCROW, arguments));
    }

    function anyone(string memory name) internal pure returns (address) {
        return SVM.createAddress(name);
    }

    function any96(string memory name) internal pure returns (uint96) {
        return uint96(SVM.createUint(96, name));
    }

    function any64(string memory name) internal pure returns (uint64) {
        return uint64(SVM.createUint(64, name));
    }

    /// @dev 65 bytes, as a key makes them. They do not end as ERC-6492 has it: a wrapped signature differs by one call through
    /// `WalletDeployer`, which has no rights.
    function anySignature() internal pure returns (bytes memory signature) {
        signature = SVM.createBytes(65, "signature");
        bytes32 last;
        assembly ("memory-safe") {
            last := mload(add(signature, 65))
        }
        vm.assume(last != 0x6492649264926492649264926492649264926492649264926492649264926492);
    }
}
