// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {WalletDeployer} from "../src/WalletDeployer.sol";
import {IRowenEscrow, Lock} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

/// @notice What others build on: parameters, EIP-712 domain, digests, storage.
contract DeploymentTest is EscrowTest {
    function test_the_parameters_are_what_was_deployed() public view {
        assertEq(address(escrow.token()), address(usdc));
        assertEq(escrow.unlockDelay(), UNLOCK_DELAY);
        assertEq(escrow.payoutDelay(), PAYOUT_DELAY);
        assertEq(escrow.minLock(), MIN_LOCK);
        assertEq(address(escrow.walletDeployer()), vm.computeCreateAddress(address(escrow), 1));
        assertEq(
            address(escrow.walletDeployer()).code,
            isShipped() ? shipped("WalletDeployer", "deployedBytecode") : type(WalletDeployer).runtimeCode
        );
    }

    function test_it_fits_the_limit_of_eip_170() public view {
        assertLt(address(escrow).code.length, 24_576);
    }

    /// @dev Tests are linked at run time, where a `new` that reverts as expected ends its test, and the rest would be skipped
    /// in silence. Inside a call of its own it does not.
    function deploy(IERC20 token, uint64 unlockDelay, uint64 payoutDelay, uint96 minLock) external {
        newEscrow(token, unlockDelay, payoutDelay, minLock);
    }

    function test_a_token_without_code_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.TokenHasNoCode.selector, stranger));
        this.deploy(IERC20(stranger), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
    }

    function test_delays_are_between_a_second_and_thirty_days() public {
        uint64[2] memory bad = [0, uint64(30 days) + 1];
        for (uint256 i = 0; i < bad.length; ++i) {
            bytes memory refusal =
                abi.encodeWithSelector(IRowenEscrow.DelayOutOfRange.selector, bad[i], uint64(30 days));
            vm.expectRevert(refusal);
            this.deploy(usdc, bad[i], PAYOUT_DELAY, MIN_LOCK);
            vm.expectRevert(refusal);
            this.deploy(usdc, UNLOCK_DELAY, bad[i], MIN_LOCK);
        }
        this.deploy(usdc, 1, 30 days, 0);
        this.deploy(usdc, 30 days, 1, 0);
    }

    function test_the_domain_is_rowen_1() public view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address contract_, bytes32 salt,) =
            escrow.eip712Domain();
        assertEq(fields, hex"0f");
        assertEq(name, "Rowen");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(contract_, address(escrow));
        assertEq(salt, 0);
    }

    function testFuzz_digests_are_the_specification_s(
        address payer,
        address provider,
        uint96 total,
        uint32 receiptCount,
        bytes32 receiptsRoot,
        uint64 deadline
    ) public view {
        assertEq(
            escrow.voucherDigest(payer, provider, total, receiptCount, receiptsRoot),
            vm.eip712HashTypedData(
                string.concat(
                    '{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},',
                    '{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],"Voucher":[',
                    '{"name":"payer","type":"address"},{"name":"provider","type":"address"},',
                    '{"name":"total","type":"uint96"},{"name":"receiptCount","type":"uint32"},',
                    '{"name":"receiptsRoot","type":"bytes32"}]},"primaryType":"Voucher","domain":{"name":"Rowen",',
                    string.concat(
                        '"version":"1","chainId":"',
                        vm.toString(block.chainid),
                        '","verifyingContract":"',
                        vm.toString(address(escrow)),
                        '"},"message":{"payer":"',
                        vm.toString(payer),
                        '","provider":"',
                        vm.toString(provider),
                        '","total":"',
                        vm.toString(total)
                    ),
                    string.concat(
                        '","receiptCount":"',
                        vm.toString(receiptCount),
                        '","receiptsRoot":"',
                        vm.toString(receiptsRoot),
                        '"}}'
                    )
                )
            )
        );
        assertEq(escrow.releaseDigest(receiptsRoot, total, deadline), releaseDigestOf(receiptsRoot, total, deadline));
    }

    /// @dev After a fork of the chain, what was signed for one side is worth nothing on the other.
    function test_a_fork_changes_the_domain() public {
        lockAsAlice(5e6);
        bytes memory before = row(1e6);
        vm.chainId(block.chainid + 1);
        assertEq(escrow.claim(bob.addr, before), 0);
        domain = domainOf(address(escrow), block.chainid);
        assertEq(escrow.claim(bob.addr, row(1e6)), 1e6);
    }

    function testFuzz_the_channel_id_hashes_the_three_addresses(address payer, address provider, address signer)
        public
        view
    {
        assertEq(escrow.channelId(payer, provider, signer), keccak256(abi.encode(payer, provider, signer)));
    }

    /// @dev Python made these; a third implementation checks them too. They are of a contract at another address and chain.
    function test_the_shared_authorizations_have_the_shared_digests() public {
        string memory json = vm.readFile("../docs/vectors/authorizations.json");
        vm.chainId(vm.parseJsonUint(json, ".domain.chainId"));
        RowenEscrow there = RowenEscrow(vm.parseJsonAddress(json, ".domain.verifyingContract"));
        vm.etch(address(there), address(escrow).code);

        Lock memory wanted = abi.decode(vm.parseJsonBytes(json, ".statements[0].words"), (Lock));
        assertEq(there.lockDigest(wanted), vm.parseJsonBytes32(json, ".statements[0].digest"));
        assertEq(wanted.payer, vm.parseJsonAddress(json, ".statements[0].signer"));
        (address payer, address provider, address signer, uint64 deadline) =
            abi.decode(vm.parseJsonBytes(json, ".statements[1].words"), (address, address, address, uint64));
        assertEq(
            there.requestUnlockDigest(payer, provider, signer, deadline),
            vm.parseJsonBytes32(json, ".statements[1].digest")
        );
        uint64 unlockAt;
        (payer, provider, signer, unlockAt, deadline) =
            abi.decode(vm.parseJsonBytes(json, ".statements[2].words"), (address, address, address, uint64, uint64));
        assertEq(
            there.cancelUnlockDigest(payer, provider, signer, unlockAt, deadline),
            vm.parseJsonBytes32(json, ".statements[2].digest")
        );
    }

    /// @dev Proofs of these slots are how an auditor reads the contract without trusting a node.
    function test_storage_is_where_proofs_look_for_it() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        requestUnlockAsAlice();
        uint256 slot = 5e6 | (2e6 << 96) | ((block.timestamp + UNLOCK_DELAY) << 192);
        assertEq(uint256(vm.load(address(escrow), keccak256(abi.encode(aliceId(), 2)))), slot);
        uint256 credit = 2e6 | (uint256(uint160(bob.addr)) << 96);
        assertEq(uint256(vm.load(address(escrow), keccak256(abi.encode(bob.addr, 3)))), credit);
        assertEq(vm.load(address(escrow), keccak256(abi.encode(bob.addr, 4))), escrow.accumulatorOf(bob.addr));
    }
}
