// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IWalletAuthorization} from "../src/interfaces/IWalletAuthorization.sol";
import {TestUSDC} from "../src/test-token/TestUSDC.sol";

/// @notice A wallet that once agreed to everything and now disowns it.
contract FickleWallet is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0xffffffff;
    }
}

/// @notice A wallet that agrees to everything.
contract YesWallet is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return IERC1271.isValidSignature.selector;
    }
}

/// @notice A wallet with one owner, who signs for it and may change.
/// @dev Its signatures are the owner's 65 bytes and one more, as those of wallets with several validators are. It approves
/// `spender` when it is made, as a wallet can that was funded before it was deployed.
contract OwnedWallet is IERC1271 {
    address public owner;

    constructor(address owner_, IERC20 token, address spender) {
        owner = owner_;
        token.approve(spender, type(uint256).max);
    }

    function setOwner(address next) external {
        require(msg.sender == owner, "not the owner");
        owner = next;
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 66) return 0xffffffff;
        (address recovered,,) = ECDSA.tryRecover(digest, signature[:65]);
        return recovered == owner ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}

contract WalletFactory {
    function deploy(address owner, IERC20 token, address spender) external returns (OwnedWallet) {
        return new OwnedWallet{salt: 0}(owner, token, spender);
    }

    function addressOf(address owner, IERC20 token, address spender) external view returns (address) {
        bytes32 initHash =
            keccak256(abi.encodePacked(type(OwnedWallet).creationCode, abi.encode(owner, token, spender)));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), bytes32(0), initHash)))));
    }
}

/// @notice USDC's form of ERC-3009 for contract wallets, by its rules: code first, then the key.
contract WalletUSDC is TestUSDC, IWalletAuthorization {
    error InvalidSignature();

    /// @inheritdoc IWalletAuthorization
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        require(to == msg.sender, ERC20InvalidReceiver(to));
        bytes32 structHash =
            keccak256(abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce));
        require(SignatureChecker.isValidSignatureNow(from, _hashTypedDataV4(structHash), signature), InvalidSignature());
        _transferWithAuthorization(from, to, value, validAfter, validBefore, nonce);
    }
}

/// @notice Takes every call it does not know for a success, as WETH does.
contract AgreeableToken {
    function balanceOf(address) external pure returns (uint256) {
        return 0;
    }

    fallback() external {}
}
