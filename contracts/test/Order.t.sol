// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lock, LockPart, Permit} from "../src/interfaces/IRowenEscrow.sol";
import {Voucher} from "./EscrowTest.sol";
import {Funding} from "./Funding.sol";

/// @notice A block builder puts transactions into any order. Whatever two calls come one after the other, in either order,
/// everybody ends with what is theirs.
/// @dev Alice locks 10 and signs vouchers of 3, then 8; nobody lets her unlock fall due. Then every call of the escrow follows
/// every other (and itself), whether it succeeds or not, from each state a channel can be in. At the end Bob claims his best
/// voucher, everybody leaves, and the sums are compared.
contract OrderTest is Funding {
    uint96 private constant LOCKED = 10e6;
    uint96 private constant EARNED = 8e6;
    uint256 private constant MINTED = 1000e6;

    struct Move {
        string name;
        address sender;
        address to;
        bytes data;
    }

    Move[] private _moves;
    address private cold = makeAddr("bob's cold address");
    address private next = makeAddr("bob's next cold address");

    function add(string memory name, address sender, bytes memory data) private {
        _moves.push(Move(name, sender, address(escrow), data));
    }

    function setUp() public override {
        super.setUp();
        usdc.mint(alice.addr, MINTED);
        usdc.mint(stranger, MINTED);
        for (uint256 i = 0; i < 2; ++i) {
            vm.startPrank(i == 0 ? alice.addr : stranger);
            usdc.approve(address(escrow), type(uint256).max);
            usdc.approve(PERMIT2, type(uint256).max);
            vm.stopPrank();
        }
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, LOCKED);
        addFunding();
        addLeaving();
        addEarning();
        addStrangers();
    }

    function addFunding() private {
        add("lock", alice.addr, abi.encodeCall(escrow.lock, (bob.addr, session.addr, 2e6)));
        LockPart[] memory parts = new LockPart[](2);
        parts[0] = LockPart(bob.addr, session.addr, 1e6);
        parts[1] = parts[0];
        add("lockMany", alice.addr, abi.encodeCall(escrow.lockMany, (parts)));
        Permit memory permit = permitOf(alice, 2e6, block.timestamp);
        add("lockWithPermit", alice.addr, abi.encodeCall(escrow.lockWithPermit, (permit, aliceToBob(2e6))));
        Lock memory wanted = lockOf(1e6, bytes32(uint256(1)));
        add("lockFor", stranger, abi.encodeCall(escrow.lockFor, (wanted, signLock(alice, wanted))));
        wanted = lockOf(1e6, bytes32(uint256(2)));
        bytes memory signature = signAuthorization(alice, wanted);
        add("lockWithAuthorization", stranger, abi.encodeCall(escrow.lockWithAuthorization, (wanted, signature)));
        wanted = lockOf(1e6, bytes32(uint256(3)));
        signature = signPermit2(alice, wanted);
        add("lockWithPermit2", stranger, abi.encodeCall(escrow.lockWithPermit2, (wanted, signature)));
        bytes32 digest = lockDigestOf(lockOf(1e6, bytes32(uint256(1))));
        add("revokeAuthorization", alice.addr, abi.encodeCall(escrow.revokeAuthorization, (digest)));
    }

    function addLeaving() private {
        uint64 deadline = uint64(block.timestamp) + 1 hours;
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        add("requestUnlock", alice.addr, abi.encodeCall(escrow.requestUnlock, (bob.addr, session.addr)));
        add("cancelUnlock", alice.addr, abi.encodeCall(escrow.cancelUnlock, (bob.addr, session.addr)));
        bytes memory signature = signRequestUnlock(alice, deadline);
        bytes memory asked =
            abi.encodeCall(escrow.requestUnlockFor, (alice.addr, bob.addr, session.addr, deadline, signature));
        add("requestUnlockFor", stranger, asked);
        signature = signCancelUnlock(alice, unlockAt, deadline);
        bytes memory taken =
            abi.encodeCall(escrow.cancelUnlockFor, (alice.addr, bob.addr, session.addr, unlockAt, deadline, signature));
        add("cancelUnlockFor", stranger, taken);
        add("unlock", stranger, abi.encodeCall(escrow.unlock, (alice.addr, bob.addr, session.addr)));
        (bytes32 r, bytes32 vs) = vm.signCompact(bob.privateKey, releaseDigestOf(aliceId(), EARNED, deadline));
        bytes memory agreed =
            abi.encodeCall(escrow.release, (alice.addr, session.addr, bob.addr, EARNED, deadline, r, vs));
        add("release", stranger, agreed);
        (r, vs) = vm.signCompact(bob.privateKey, releaseDigestOf(aliceId(), LOCKED, deadline));
        bytes memory empty =
            abi.encodeCall(escrow.release, (alice.addr, session.addr, bob.addr, LOCKED, deadline, r, vs));
        add("a release of nothing", bob.addr, empty);
    }

    function addEarning() private {
        add("claim the older voucher", stranger, abi.encodeCall(escrow.claim, (bob.addr, row(3e6))));
        add("claim the newest voucher", stranger, abi.encodeCall(escrow.claim, (bob.addr, row(EARNED))));
        add(
            "claim both at once",
            bob.addr,
            abi.encodeCall(escrow.claim, (bob.addr, bytes.concat(row(EARNED), row(3e6))))
        );
        add("sweep", stranger, abi.encodeCall(escrow.sweep, (bob.addr)));
        add("requestPayout", bob.addr, abi.encodeCall(escrow.requestPayout, (next)));
        add("applyPayout", stranger, abi.encodeCall(escrow.applyPayout, (bob.addr)));
        add("vetoPayout", cold, abi.encodeCall(escrow.vetoPayout, (bob.addr)));
    }

    function addStrangers() private {
        add("a stranger's lock", stranger, abi.encodeCall(escrow.lock, (bob.addr, session.addr, MIN_LOCK)));
        Voucher memory forged = voucher(LOCKED);
        bytes memory rows = sign(forged, uint256(keccak256("another key")));
        add("a forged claim", stranger, abi.encodeCall(escrow.claim, (bob.addr, rows)));
        add("a stranger's way out", stranger, abi.encodeCall(escrow.requestUnlock, (bob.addr, session.addr)));
        _moves.push(Move("a gift", stranger, address(usdc), abi.encodeCall(usdc.transfer, (address(escrow), 7))));
    }

    function play(Move storage move) private returns (bool done) {
        (,, uint64 due) = escrow.channels(aliceId());
        vm.prank(move.sender);
        (done,) = move.to.call(move.data);
        if (due == 0) return done;
        // A payer that leaves is let go when it was told: nobody but the payer moves that time while something is left.
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(aliceId());
        bytes4 selector = bytes4(move.data);
        if (selector == escrow.cancelUnlock.selector || selector == escrow.cancelUnlockFor.selector) return done;
        assertEq(unlockAt, unlockAt == 0 && locked == claimed ? 0 : due, string.concat("delayed by ", move.name));
    }

    function pairs() private returns (uint256 succeeded) {
        for (uint256 i = 0; i < _moves.length; ++i) {
            for (uint256 j = 0; j < _moves.length; ++j) {
                uint256 clean = vm.snapshotState();
                if (play(_moves[i])) ++succeeded;
                if (play(_moves[j])) ++succeeded;
                settle(string.concat(_moves[i].name, ", then ", _moves[j].name));
                vm.revertToStateAndDelete(clean);
            }
        }
    }

    /// @dev Bob claims and sweeps, both payers leave; nobody needs anybody's help.
    function settle(string memory order) private {
        escrow.claim(bob.addr, row(EARNED));
        if (escrow.creditOf(bob.addr) != 0) escrow.sweep(bob.addr);
        depart(alice.addr);
        depart(stranger);
        uint256 earned = usdc.balanceOf(bob.addr) + usdc.balanceOf(cold) + usdc.balanceOf(next);
        assertEq(earned, EARNED, string.concat("the provider has what was signed: ", order));
        assertEq(usdc.balanceOf(alice.addr), MINTED - EARNED, string.concat("the payer has the rest: ", order));
        uint256 gifts = usdc.balanceOf(address(escrow));
        assertEq(usdc.balanceOf(stranger), MINTED - gifts, string.concat("a stranger has its own: ", order));
        assertLe(gifts, 14, string.concat("nothing stays but gifts: ", order));
    }

    function depart(address payer) private {
        bytes32 id = escrow.channelId(payer, bob.addr, session.addr);
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(id);
        if (locked == claimed && unlockAt == 0) return;
        if (unlockAt == 0) {
            vm.prank(payer);
            escrow.requestUnlock(bob.addr, session.addr);
            unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        }
        vm.warp(unlockAt);
        escrow.unlock(payer, bob.addr, session.addr);
    }

    function test_every_pair_of_calls_on_an_open_channel() public {
        assertGt(pairs(), 700, "calls that succeeded");
    }

    function test_every_pair_of_calls_on_a_channel_that_is_left() public {
        requestUnlockAsAlice();
        assertGt(pairs(), 500, "calls that succeeded");
    }

    function test_every_pair_of_calls_on_a_channel_with_credit_and_a_payout_address_that_changes() public {
        vm.startPrank(bob.addr);
        escrow.requestPayout(cold);
        escrow.requestPayout(next);
        vm.stopPrank();
        escrow.claim(bob.addr, row(1e6));
        // In force at any time from here on; signatures with a deadline have passed.
        skip(PAYOUT_DELAY);
        assertGt(pairs(), 600, "calls that succeeded");
    }

    function test_every_pair_of_calls_after_the_channel_was_emptied() public {
        escrow.claim(bob.addr, row(EARNED));
        releaseAlice(EARNED, uint64(block.timestamp) + 2 hours);
        assertGt(pairs(), 600, "calls that succeeded");
    }
}
