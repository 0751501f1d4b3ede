// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Vm} from "forge-std/Vm.sol";
import {GuardianRegistry} from "../src/GuardianRegistry.sol";
import {MarinaToken} from "../src/MarinaToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {Split} from "../src/lib/Splits.sol";
import {DeploymentFixture} from "./DeploymentFixture.sol";
import {TestToken} from "./tokens/TestToken.sol";

/// @notice What is true of the set once it is deployed: who has power, who has none, and that every power works.
contract DeploymentTest is DeploymentFixture {
    /// @dev The slots in which proxies keep their code and their admin (ERC-1967).
    bytes32 private constant CODE_SLOT = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;
    bytes32 private constant ADMIN_SLOT = 0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103;

    struct Holder {
        address where;
        bytes32 role;
        address account;
    }

    Holder[] private holders;

    function test_everyRoleAfterTheDeploymentIsAContractsOfTheSet() public {
        vm.recordLogs();
        deploy();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            bytes32 topic = logs[i].topics[0];
            if (topic == IAccessControl.RoleGranted.selector) _granted(logs[i]);
            if (topic == IAccessControl.RoleRevoked.selector) _revoked(logs[i]);
            assertNotEq(topic, IAccessControl.RoleAdminChanged.selector);
        }
        // Of every contract of the set, every role that anybody has.
        assertEq(holders.length, 4);
        address lock = address(timelock);
        _assertHolder(lock, timelock.DEFAULT_ADMIN_ROLE(), lock);
        _assertHolder(lock, timelock.PROPOSER_ROLE(), address(governor));
        _assertHolder(lock, timelock.CANCELLER_ROLE(), address(governor));
        _assertHolder(lock, timelock.EXECUTOR_ROLE(), address(0));
        for (uint256 i; i < holders.length; ++i) {
            assertTrue(timelock.hasRole(holders[i].role, holders[i].account));
            bool anybody = holders[i].account == address(0);
            assertTrue(anybody || holders[i].account.code.length > 0, "an account of a person has a role");
        }
    }

    function test_theDeployerHasNoPowerLeft() public {
        bytes32[4] memory roles = [
            timelock.DEFAULT_ADMIN_ROLE(), timelock.PROPOSER_ROLE(), timelock.CANCELLER_ROLE(), timelock.EXECUTOR_ROLE()
        ];
        bytes memory refusal =
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, deployer, roles[0]);
        for (uint256 i; i < roles.length; ++i) {
            assertFalse(timelock.hasRole(roles[i], deployer));
            vm.prank(deployer);
            vm.expectRevert(refusal);
            timelock.grantRole(roles[i], deployer);
        }
        _assertPowerless(deployer);
    }

    function testFuzz_nobodyHasThePowersOfTheDao(address who) public {
        vm.assume(who != address(timelock));
        _assertPowerless(who);
    }

    function test_everyContractObeysTheTimelockForEver() public view {
        assertEq(token.minter(), address(timelock));
        assertEq(address(governor.token()), address(token));
        assertEq(governor.timelock(), address(timelock));
        assertEq(registry.dao(), address(timelock));
        assertEq(licensing.dao(), address(timelock));
        assertEq(address(licensing.registry()), address(registry));
        assertEq(address(editions.registry()), address(registry));
        assertEq(address(editions.licensing()), address(licensing));
        assertEq(address(guardians.token()), address(token));
        assertEq(guardians.dao(), address(timelock));
        assertEq(licensing.pauser(), address(0), "nobody may pause until the DAO says who");
        assertEq(licensing.feeBps(), 250);
        assertEq(token.balanceOf(founder) + 120_000 ether, token.totalSupply());
    }

    function test_nothingCanBeInitialisedOrReplaced() public {
        address[7] memory all = _all();
        bytes[6] memory calls = [
            abi.encodeWithSignature("initialize()"),
            abi.encodeWithSignature("initialize(address)", stranger),
            abi.encodeWithSignature("upgradeTo(address)", stranger),
            abi.encodeWithSignature("upgradeToAndCall(address,bytes)", stranger, ""),
            abi.encodeWithSignature("transferOwnership(address)", stranger),
            abi.encodeWithSignature("owner()")
        ];
        for (uint256 i; i < all.length; ++i) {
            assertGt(all[i].code.length, 0);
            assertLe(all[i].code.length, 24_576, "a chain takes no more (EIP-170)");
            assertEq(vm.load(all[i], CODE_SLOT), 0);
            assertEq(vm.load(all[i], ADMIN_SLOT), 0);
            for (uint256 j; j < calls.length; ++j) {
                (bool done,) = all[i].call(calls[j]);
                assertFalse(done);
            }
        }
    }

    function test_nobodySendsMoneyToAContractThatCannotPayItOut() public {
        address[7] memory all = _all();
        vm.deal(stranger, 10 ether);
        for (uint256 i; i < all.length; ++i) {
            vm.prank(stranger);
            (bool taken,) = all[i].call{value: 1 ether}("");
            // The timelock is the treasury: it takes money, and votes pay it out.
            assertEq(taken, all[i] == address(timelock));
        }
    }

    function test_everyPowerOfTheDaoWorksThroughAVote() public {
        vm.startPrank(bob);
        token.approve(address(guardians), 100 ether);
        guardians.register(keccak256("peer"), keccak256("hpke"), 100 ether, 0);
        vm.stopPrank();
        TestToken dollars = new TestToken();
        bytes32 id = _track();

        address money = address(licensing);
        _call(money, 0, abi.encodeCall(MusicLicensing.setFee, (1_000)));
        _call(money, 0, abi.encodeCall(SplitLedger.setToken, (address(dollars), true)));
        _call(money, 0, abi.encodeCall(MusicLicensing.setPauser, (carol)));
        _call(address(registry), 0, abi.encodeCall(TrackRegistry.setBlocked, (id, true)));
        _call(address(registry), 0, abi.encodeCall(TrackRegistry.setModerationList, (keccak256("list"))));
        _call(address(guardians), 0, abi.encodeCall(GuardianRegistry.setMinBond, (5 ether)));
        _call(address(guardians), 0, abi.encodeCall(GuardianRegistry.remove, (bob)));
        _call(address(token), 0, abi.encodeCall(MarinaToken.mint, (alice, 1 ether)));
        uint256 proposal = _propose(alice, "everything at once");
        _pass(proposal);
        governor.execute(proposal);

        assertEq(licensing.feeBps(), 1_000);
        (address listed, bool allowed) = licensing.tokens(1);
        assertEq(listed, address(dollars));
        assertTrue(allowed);
        assertEq(licensing.pauser(), carol);
        (, bool open) = registry.saleState(id);
        assertFalse(open);
        assertEq(registry.moderationList(), keccak256("list"));
        assertEq(guardians.minBond(), 5 ether);
        assertFalse(guardians.isActive(bob));
        assertEq(token.balanceOf(alice), 50_001 ether);
    }

    function test_theFeeOfASaleReachesTheTreasury() public {
        bytes32 id = _track();
        vm.prank(alice);
        licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        vm.deal(bob, 1 ether);
        vm.prank(bob);
        licensing.purchase{value: 1 ether}(id, 0, 1, bob, 1 ether);
        Split[] memory splits = new Split[](1);
        splits[0] = Split(alice, 10_000);
        licensing.settle(id, splits, address(0));
        licensing.withdraw(address(timelock), address(0));
        licensing.withdraw(alice, address(0));
        assertEq(address(timelock).balance, 0.025 ether);
        assertEq(alice.balance, 0.975 ether);
        assertEq(address(licensing).balance, 0);
    }

    function _track() private returns (bytes32 id) {
        Split[] memory splits = new Split[](1);
        splits[0] = Split(alice, 10_000);
        vm.prank(alice);
        return registry.register(TrackRegistry.Registration(keccak256("salt"), keccak256("content"), 0, 500, splits));
    }

    function _all() private view returns (address[7] memory all) {
        return [
            address(timelock),
            address(token),
            address(governor),
            address(registry),
            address(licensing),
            address(editions),
            address(guardians)
        ];
    }

    /// @dev One call for each function that only the DAO, or whom it named, may call.
    function _assertPowerless(address who) private {
        _assertRefused(who, address(token), abi.encodeCall(MarinaToken.mint, (who, 1)));
        _assertRefused(who, address(licensing), abi.encodeCall(MusicLicensing.setFee, (0)));
        _assertRefused(who, address(licensing), abi.encodeCall(MusicLicensing.setPauser, (who)));
        _assertRefused(who, address(licensing), abi.encodeCall(MusicLicensing.pause, ()));
        _assertRefused(who, address(licensing), abi.encodeCall(MusicLicensing.unpause, ()));
        _assertRefused(who, address(licensing), abi.encodeCall(SplitLedger.setToken, (address(token), true)));
        _assertRefused(who, address(registry), abi.encodeCall(TrackRegistry.setBlocked, (0, true)));
        _assertRefused(who, address(registry), abi.encodeCall(TrackRegistry.setModerationList, (0)));
        _assertRefused(who, address(guardians), abi.encodeCall(GuardianRegistry.setMinBond, (0)));
        _assertRefused(who, address(guardians), abi.encodeCall(GuardianRegistry.remove, (who)));
        _assertRefused(who, address(governor), abi.encodeCall(governor.setProposalThreshold, (0)));
        _assertRefused(who, address(timelock), abi.encodeCall(TimelockController.updateDelay, (0)));
        if (who == address(governor)) return;
        bytes memory schedule =
            abi.encodeCall(TimelockController.schedule, (address(token), 0, "", 0, bytes32(0), 2 days));
        _assertRefused(who, address(timelock), schedule);
        _assertRefused(who, address(timelock), abi.encodeCall(TimelockController.cancel, (0)));
    }

    function _assertRefused(address who, address target, bytes memory data) private {
        vm.prank(who);
        (bool done, bytes memory answer) = target.call(data);
        assertFalse(done, "somebody outside of the DAO has its power");
        assertGe(answer.length, 4, "a refusal says why");
        assertNotEq(bytes4(answer), bytes4(0x4e487b71), "a refusal is not a panic");
    }

    function _granted(Vm.Log memory log) private {
        holders.push(Holder(log.emitter, log.topics[1], address(uint160(uint256(log.topics[2])))));
    }

    function _revoked(Vm.Log memory log) private {
        (bool found, uint256 at) = _find(log.emitter, log.topics[1], address(uint160(uint256(log.topics[2]))));
        assertTrue(found, "a role was revoked that nobody had");
        holders[at] = holders[holders.length - 1];
        holders.pop();
    }

    function _assertHolder(address where, bytes32 role, address account) private view {
        (bool found,) = _find(where, role, account);
        assertTrue(found);
    }

    function _find(address where, bytes32 role, address account) private view returns (bool found, uint256 at) {
        for (uint256 i; i < holders.length; ++i) {
            Holder memory each = holders[i];
            if (each.where == where && each.role == role && each.account == account) return (true, i);
        }
    }
}
