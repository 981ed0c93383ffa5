// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IPermit2} from "../src/interfaces/IPermit2.sol";
import {IRowenEscrow, Lock} from "../src/interfaces/IRowenEscrow.sol";
import {IRowenStake} from "../src/interfaces/IRowenStake.sol";
import {TestUSDC} from "../src/test-token/TestUSDC.sol";
import {Funding} from "./Funding.sol";
import {StakeTest} from "./StakeTest.sol";
import {YesWallet} from "./Wallets.sol";

/// @notice Stands where Permit2 does and brings a single unit.
contract StingyPermit2 {
    function permitWitnessTransferFrom(
        IPermit2.PermitTransferFrom calldata permit,
        IPermit2.SignatureTransferDetails calldata,
        address,
        bytes32,
        string calldata,
        bytes calldata
    ) external {
        TestUSDC(permit.permitted.token).mint(msg.sender, 1);
    }
}

/// @notice Answers with a byte less than a number has.
contract TerseToken {
    fallback() external {
        assembly ("memory-safe") {
            return(0, 31)
        }
    }
}

/// @notice Values at an edge that no other test happens to use, each found by a mutant that nothing else noticed.
contract EscrowBoundariesTest is Funding {
    function test_a_credit_of_a_single_unit_follows_the_payout_address() public {
        lockAsAlice(1e6);
        escrow.claim(bob.addr, row(1));
        address cold = makeAddr("bob's cold address");
        vm.prank(bob.addr);
        escrow.requestPayout(cold);
        assertEq(escrow.sweep(bob.addr), 1);
        assertEq(usdc.balanceOf(cold), 1);
    }

    function test_a_permit2_that_moves_too_little_is_refused_with_what_it_moved() public {
        lockAsAlice(2e6);
        vm.etch(PERMIT2, address(new StingyPermit2()).code);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.InexactTransfer.selector, 5e6, 1));
        escrow.lockWithPermit2(lockOf(5e6, 0), hex"00");
    }

    function test_a_claim_tells_of_its_rows_and_of_no_more() public {
        lockAsAlice(1e6);
        vm.recordLogs();
        escrow.claim(bob.addr, row(1e6));
        assertEq(vm.getRecordedLogs().length, 1);
    }

    function test_a_balance_of_less_than_a_word_is_none() public {
        IERC20 terse = IERC20(address(new TerseToken()));
        IRowenEscrow other = newEscrow(terse, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.BalanceUnknown.selector, terse));
        other.lock(bob.addr, session.addr, 5e6);
    }

    bool private wasCalled;

    function deployAgain() external {
        wasCalled = true;
    }

    /// @dev Nothing pads such a signature, so a byte too few is a byte of it. The wallet is there, so nobody is called for it.
    function test_a_wrapped_signature_of_whole_words_is_taken_whole() public {
        Lock memory wanted = lockOf(5e6, 0);
        wanted.payer = address(new YesWallet());
        usdc.mint(wanted.payer, 5e6);
        vm.prank(wanted.payer);
        usdc.approve(address(escrow), 5e6);
        bytes memory call = abi.encodeCall(this.deployAgain, ());
        bytes memory wrapped = abi.encode(address(this), call, bytes.concat(bytes32("a"), bytes32("b")));
        bytes32 magic = 0x6492649264926492649264926492649264926492649264926492649264926492;
        escrow.lockFor(wanted, bytes.concat(wrapped, magic));
        assertEq(usdc.balanceOf(address(escrow)), 5e6);
        assertFalse(wasCalled);
    }
}

contract StakeBoundariesTest is StakeTest {
    function test_a_second_bond_tells_what_came_and_what_there_is() public {
        bondBob(PENALTY);
        usdc.mint(cold, 7);
        vm.startPrank(cold);
        usdc.approve(address(stake), 7);
        vm.expectEmit(address(stake));
        emit IRowenStake.Bonded(bob.addr, cold, 7, PENALTY + 7);
        stake.bond(bob.addr, 7);
    }
}
