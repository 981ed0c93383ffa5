// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IPermit2} from "../src/interfaces/IPermit2.sol";

/// @notice A stand-in for Permit2's signature transfer, written anew by its documented rules: its EIP-712 domain and types,
/// its check order, its bitmap of nonces, its errors, and its signature rule (code first, then ECDSA over 65 bytes).
/// @dev Tests put its code at Permit2's address, or what `PERMIT2_CODE` in the environment holds. With the code that stands
/// there on public chains (9,152 bytes) all tests that use it pass as well, with `--chain-id` other than the one that the
/// code has its domain separator cached for, if that was cached elsewhere.
/// Source: https://docs.uniswap.org/contracts/permit2/reference/signature-transfer
contract Permit2Double is IPermit2 {
    using SafeERC20 for IERC20;

    error InvalidAmount(uint256 maxAmount);
    error SignatureExpired(uint256 signatureDeadline);
    error InvalidNonce();
    error InvalidSignatureLength();
    error InvalidSignature();
    error InvalidSigner();
    error InvalidContractSignature();

    mapping(address owner => mapping(uint256 word => uint256)) public nonceBitmap;

    /// @inheritdoc IPermit2
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external {
        require(block.timestamp <= permit.deadline, SignatureExpired(permit.deadline));
        require(transferDetails.requestedAmount <= permit.permitted.amount, InvalidAmount(permit.permitted.amount));
        _useNonce(owner, permit.nonce);
        _verify(signature, _digest(permit, witness, witnessTypeString), owner);
        IERC20(permit.permitted.token).safeTransferFrom(owner, transferDetails.to, transferDetails.requestedAmount);
    }

    function _useNonce(address owner, uint256 nonce) private {
        uint256 bit = 1 << (nonce & 0xff);
        uint256 bitmap = nonceBitmap[owner][nonce >> 8];
        require(bitmap & bit == 0, InvalidNonce());
        nonceBitmap[owner][nonce >> 8] = bitmap | bit;
    }

    function _digest(PermitTransferFrom calldata permit, bytes32 witness, string calldata witnessTypeString)
        private
        view
        returns (bytes32)
    {
        bytes32 typeHash = keccak256(
            abi.encodePacked(
                "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,",
                witnessTypeString
            )
        );
        bytes32 permitted =
            keccak256(abi.encode(keccak256("TokenPermissions(address token,uint256 amount)"), permit.permitted));
        bytes32 structHash =
            keccak256(abi.encode(typeHash, permitted, msg.sender, permit.nonce, permit.deadline, witness));
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
                keccak256("Permit2"),
                block.chainid,
                address(this)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    function _verify(bytes calldata signature, bytes32 digest, address owner) private view {
        if (owner.code.length != 0) {
            bytes4 answer = IERC1271(owner).isValidSignature(digest, signature);
            require(answer == IERC1271.isValidSignature.selector, InvalidContractSignature());
            return;
        }
        require(signature.length == 65, InvalidSignatureLength());
        address signer = ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        require(signer != address(0), InvalidSignature());
        require(signer == owner, InvalidSigner());
    }
}
