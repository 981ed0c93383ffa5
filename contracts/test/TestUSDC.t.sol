// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestUSDC} from "../src/test-token/TestUSDC.sol";
import {EscrowTest} from "./EscrowTest.sol";

contract TestUSDCTest is EscrowTest {
    function test_it_looks_like_usdc() public view {
        assertEq(usdc.name(), "USD Coin");
        assertEq(usdc.symbol(), "USDC");
        assertEq(usdc.decimals(), 6);
        assertEq(usdc.version(), "2");
        assertEq(
            usdc.DOMAIN_SEPARATOR(),
            keccak256(
                abi.encode(
                    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                    keccak256("USD Coin"),
                    keccak256("2"),
                    block.chainid,
                    address(usdc)
                )
            )
        );
    }

    function test_a_permit_works_once_and_in_time() public {
        (uint8 v, bytes32 r, bytes32 s) = signPermit(alice, 7, block.timestamp);
        usdc.permit(alice.addr, address(escrow), 7, block.timestamp, v, r, s);
        assertEq(usdc.allowance(alice.addr, address(escrow)), 7);
        assertEq(usdc.nonces(alice.addr), 1);
        vm.expectPartialRevert(TestUSDC.PermitSignerMismatch.selector);
        usdc.permit(alice.addr, address(escrow), 7, block.timestamp, v, r, s);
        skip(1);
        vm.expectRevert(abi.encodeWithSelector(TestUSDC.PermitExpired.selector, block.timestamp - 1, block.timestamp));
        usdc.permit(alice.addr, address(escrow), 7, block.timestamp - 1, v, r, s);
    }

    function test_an_authorization_moves_tokens() public {
        usdc.mint(alice.addr, 7);
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                alice.addr,
                bob.addr,
                7,
                0,
                block.timestamp + 1,
                bytes32(uint256(1))
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(alice.privateKey, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash)));
        usdc.transferWithAuthorization(alice.addr, bob.addr, 7, 0, block.timestamp + 1, bytes32(uint256(1)), v, r, s);
        assertEq(usdc.balanceOf(bob.addr), 7);
    }
}
