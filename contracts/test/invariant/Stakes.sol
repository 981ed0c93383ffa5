// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RowenStake} from "../../src/RowenStake.sol";
import {Offence, Receipt, SignedReceipt} from "../../src/interfaces/IRowenStake.sol";
import {TestUSDC} from "../../src/test-token/TestUSDC.sol";
import {Typed} from "../Typed.sol";
import {Actors} from "./Actors.sol";

/// @notice One provider as a bystander's plain books see it.
struct StakeBook {
    uint256 bonded;
    uint256 leaving;
    uint256 leaveAt;
    uint256 paidIn;
    uint256 withdrawn;
    uint256 slashed;
    uint256 earnedByItself; // rewards for reporting itself
}

/// @notice Five providers who bond, leave, cheat in every provable way and report themselves; reporters who show each
/// proof again and again, and some that prove nothing.
contract Stakes is Actors {
    RowenStake public immutable stake;
    uint96 private immutable _penalty;

    mapping(uint256 provider => StakeBook) private _accounts;
    uint256 public burned;
    mapping(bytes32 offence => uint256) private _paid;

    constructor(RowenStake stake_, TestUSDC usdc_, bytes32 domain) Actors(5, usdc_, domain) {
        (stake, _penalty) = (stake_, stake_.penalty());
    }

    // ---- Providers ----

    function bond(uint256 seed, uint96 amount) external {
        StakeBook storage account = _accounts[seed % PROVIDERS];
        // Small, so that some bonds do not cover what is proved.
        amount = uint96(bound(amount, account.bonded >= _penalty ? 1 : _penalty, 2 * _penalty));
        usdc.mint(address(this), amount);
        usdc.approve(address(stake), amount);
        stake.bond(_providers[seed % PROVIDERS].addr, amount);
        account.bonded += amount;
        account.paidIn += amount;
    }

    function requestUnbond(uint256 seed, uint96 amount) external {
        StakeBook storage account = _accounts[seed % PROVIDERS];
        uint256 active = account.bonded - account.leaving;
        if (active == 0) return;
        amount = uint96(bound(amount, 1, active));
        address provider = _providers[seed % PROVIDERS].addr;
        vm.prank(provider);
        stake.requestUnbond(provider, amount);
        account.leaving += amount;
        account.leaveAt = block.timestamp + stake.unbondDelay();
    }

    function cancelUnbond(uint256 seed) external {
        StakeBook storage account = _accounts[seed % PROVIDERS];
        if (account.leaving == 0) return;
        address provider = _providers[seed % PROVIDERS].addr;
        vm.prank(provider);
        stake.cancelUnbond(provider);
        (account.leaving, account.leaveAt) = (0, 0);
    }

    function withdraw(uint256 seed) external {
        StakeBook storage account = _accounts[seed % PROVIDERS];
        address provider = _providers[seed % PROVIDERS].addr;
        if (account.leaving == 0 || block.timestamp < account.leaveAt) {
            try stake.withdraw(provider) {
                check(false, "S10: nothing leaves unasked or early");
            } catch {}
            return;
        }
        check(stake.withdraw(provider) == account.leaving, "S10: what was asked for leaves");
        account.bonded -= account.leaving;
        account.withdrawn += account.leaving;
        (account.leaving, account.leaveAt) = (0, 0);
    }

    // ---- Proofs ----

    /// @notice Any of the three offences, on any of few sequences, so that most come up again; reported by anybody.
    function prove(uint256 seed, uint256 kind, bool byItself) external {
        uint256 index = seed % PROVIDERS;
        uint32 sequence = uint32((seed >> 8) % 4);
        Offence offence = Offence(kind % 3);
        bytes32 key = keccak256(abi.encode(index, offence, sequence));
        uint256 unpaid = _penalty - _paid[key];
        uint256 bonded = _accounts[index].bonded;
        uint256 taken = bonded < unpaid ? bonded : unpaid;

        address reporter = byItself ? _providers[index].addr : address(0xbeef);
        uint256 reward = report(reporter, proof(index, offence, sequence), taken);
        _paid[key] += taken;
        book(_accounts[index], taken, byItself ? reward : 0);
    }

    function report(address reporter, bytes memory call, uint256 taken) private returns (uint256 reward) {
        uint256 before = usdc.balanceOf(reporter);
        vm.prank(reporter);
        (bool done,) = address(stake).call(call);
        check(done == (taken != 0), "S11: a proof counts until its penalty is paid, and while there is a bond");
        reward = usdc.balanceOf(reporter) - before;
        if (done) check(3 * reward <= taken - reward && reward < taken - reward, "S9: more is burned than paid");
        burned += taken - reward;
    }

    function book(StakeBook storage account, uint256 taken, uint256 reward) private {
        account.bonded -= taken;
        account.slashed += taken;
        account.earnedByItself += reward;
        if (account.leaving > account.bonded) account.leaving = account.bonded;
        if (account.leaving == 0) account.leaveAt = 0;
    }

    /// @notice Honest receipts, forged ones and those of another channel are shown as if they proved something.
    function accuse(uint256 seed, uint256 kind) external {
        uint256 index = seed % PROVIDERS;
        uint32 sequence = uint32((seed >> 8) % 4);
        Receipt memory first = receipt(index, sequence);
        Receipt memory second = receipt(index, sequence + 1);
        uint256 key = _providers[index].privateKey;
        bytes[6] memory calls;
        address provider = _providers[index].addr;
        SignedReceipt memory honest = sign(first, key);
        calls[0] = abi.encodeCall(stake.slashEquivocation, (PAYER, provider, SESSION, honest, honest));
        calls[1] = abi.encodeCall(stake.slashEquivocation, (PAYER, provider, SESSION, honest, sign(second, key)));
        calls[2] = abi.encodeCall(stake.slashBrokenTotal, (PAYER, provider, SESSION, honest, sign(second, key)));
        calls[3] = abi.encodeCall(stake.slashChargedFailure, (PAYER, provider, SESSION, honest));
        Receipt memory other = receipt(index, sequence);
        other.outputHash = keccak256("another answer");
        calls[4] = abi.encodeCall(stake.slashEquivocation, (PAYER, provider, SESSION, honest, sign(other, 0xbad)));
        calls[5] = abi.encodeCall(stake.slashEquivocation, (address(1), provider, SESSION, honest, sign(other, key)));
        (bool done,) = address(stake).call(calls[kind % 6]);
        check(!done, "S12: what proves nothing costs nothing");
    }

    function donate(uint256 amount) external {
        give(address(stake), bound(amount, 0, 1e6));
    }

    // ---- Receipts ----

    address private constant PAYER = address(0xa11ce);
    address private constant SESSION = address(0x5e55);

    function receipt(uint256 index, uint32 sequence) private view returns (Receipt memory made) {
        made.channelId = keccak256(abi.encode(PAYER, _providers[index].addr, SESSION));
        (made.sequence, made.status) = (sequence, 1);
        (made.amount, made.total) = (7, 7 * (sequence + 1));
    }

    function proof(uint256 index, Offence offence, uint32 sequence) private view returns (bytes memory) {
        (address provider, uint256 key) = (_providers[index].addr, _providers[index].privateKey);
        Receipt memory bad = receipt(index, sequence);
        if (offence == Offence.Equivocation) {
            bad.segment = 1;
            SignedReceipt memory good = sign(receipt(index, sequence), key);
            return abi.encodeCall(stake.slashEquivocation, (PAYER, provider, SESSION, good, sign(bad, key)));
        }
        if (offence == Offence.BrokenTotal) {
            Receipt memory next = receipt(index, sequence + 1);
            next.total += 1;
            return abi.encodeCall(stake.slashBrokenTotal, (PAYER, provider, SESSION, sign(bad, key), sign(next, key)));
        }
        bad.status = 4;
        return abi.encodeCall(stake.slashChargedFailure, (PAYER, provider, SESSION, sign(bad, key)));
    }

    function sign(Receipt memory made, uint256 key) private view returns (SignedReceipt memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, Typed.receipt(_domain, made));
        return SignedReceipt(made, r, vs);
    }

    // ---- The books ----

    function accountAt(uint256 index) external view returns (StakeBook memory, address provider) {
        return (_accounts[index], _providers[index].addr);
    }
}
