// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Test} from "forge-std/Test.sol";
import {GuardianRegistry} from "../src/GuardianRegistry.sol";
import {MarinaGovernor} from "../src/MarinaGovernor.sol";
import {MarinaToken} from "../src/MarinaToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {TrackEditions} from "../src/TrackEditions.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";

/// @notice The whole set, deployed in the order in which `marina chain deploy` does it, and a DAO of four voters.
abstract contract DeploymentFixture is Test {
    uint8 internal constant AGAINST = 0;
    uint8 internal constant FOR = 1;
    uint8 internal constant ABSTAIN = 2;

    address internal deployer = makeAddr("deployer");
    address internal founder = makeAddr("founder");
    address internal alice;
    uint256 internal aliceKey;
    address internal bob = makeAddr("bob");
    address internal carol = makeAddr("carol");
    address internal stranger = makeAddr("stranger");

    TimelockController internal timelock;
    MarinaToken internal token;
    MarinaGovernor internal governor;
    TrackRegistry internal registry;
    MusicLicensing internal licensing;
    TrackEditions internal editions;
    GuardianRegistry internal guardians;

    /// @dev A proposal in the making: `_call` adds to it, `_propose` takes it.
    address[] internal targets;
    uint256[] internal values;
    bytes[] internal calldatas;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        (alice, aliceKey) = makeAddrAndKey("alice");
        deploy();
        // The founder keeps 880,000; quorum is 40,000, the threshold 1,000.
        vm.startPrank(founder);
        token.transfer(alice, 50_000 ether);
        token.transfer(bob, 60_000 ether);
        token.transfer(carol, 10_000 ether);
        vm.stopPrank();
        _delegate(alice);
        _delegate(bob);
        _delegate(carol);
        skip(1);
    }

    function deploy() internal {
        address[] memory anybody = new address[](1);
        vm.startPrank(deployer);
        timelock = new TimelockController(2 days, new address[](0), anybody, deployer);
        token = new MarinaToken(founder, address(timelock));
        governor = new MarinaGovernor(token, timelock);
        registry = new TrackRegistry(address(timelock));
        licensing = new MusicLicensing(registry, address(timelock));
        editions = new TrackEditions(registry, licensing);
        guardians = new GuardianRegistry(token, address(timelock));
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(governor));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), deployer);
        vm.stopPrank();
    }

    function _delegate(address who) internal {
        vm.prank(who);
        token.delegate(who);
    }

    function _call(address target, uint256 value, bytes memory data) internal {
        targets.push(target);
        values.push(value);
        calldatas.push(data);
    }

    function _propose(address proposer, string memory description) internal returns (uint256 id) {
        vm.prank(proposer);
        id = governor.propose(targets, values, calldatas, description);
        delete targets;
        delete values;
        delete calldatas;
    }

    function _openVote(uint256 id) internal {
        vm.warp(governor.proposalSnapshot(id) + 1);
    }

    function _vote(address voter, uint256 id, uint8 support) internal {
        vm.prank(voter);
        governor.castVote(id, support);
    }

    function _closeVote(uint256 id) internal {
        vm.warp(governor.proposalDeadline(id) + 1);
    }

    /// @dev From a proposal that was made to the moment at which it may be executed.
    function _pass(uint256 id) internal {
        _openVote(id);
        _vote(alice, id, FOR);
        _closeVote(id);
        governor.queue(id);
        vm.warp(governor.proposalEta(id));
    }

    function _assertState(uint256 id, IGovernor.ProposalState wanted) internal view {
        assertEq(uint8(governor.state(id)), uint8(wanted), "state of the proposal");
    }

    function _bit(IGovernor.ProposalState state) internal pure returns (bytes32) {
        return bytes32(1 << uint8(state));
    }
}
