// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MusicLicensing} from "../src/MusicLicensing.sol";
import {DeploymentFixture} from "./DeploymentFixture.sol";

/// @notice What members of the DAO and guardians pay, as a chain counts it: every call a transaction of its own.
/// forge-config: default.isolate = true
contract GovernorGasTest is DeploymentFixture {
    string private constant TEXT = "Lower the fee of the DAO to 2 %";

    function test_gasOfADelegation() public {
        vm.prank(alice);
        token.transfer(stranger, 10 ether);
        vm.prank(stranger);
        token.delegate(stranger);
        assertLe(vm.snapshotGasLastCall("delegate"), 100_000);
    }

    function test_gasOfAProposal() public {
        _call(address(licensing), 0, abi.encodeCall(MusicLicensing.setFee, (200)));
        (address[] memory to, uint256[] memory money, bytes[] memory data) = (targets, values, calldatas);
        vm.prank(alice);
        governor.propose(to, money, data, TEXT);
        assertLe(vm.snapshotGasLastCall("propose"), 325_000);
    }

    function test_gasOfVotes() public {
        uint256 id = _proposal();
        _openVote(id);
        _vote(alice, id, FOR);
        assertLe(vm.snapshotGasLastCall("castVote, first, reaches the quorum"), 125_000);
        _vote(carol, id, FOR);
        assertLe(vm.snapshotGasLastCall("castVote, second"), 125_000);
        _vote(bob, id, AGAINST);
        assertLe(vm.snapshotGasLastCall("castVote, first against"), 125_000);
    }

    function test_gasOfALateQuorum() public {
        uint256 id = _proposal();
        vm.warp(governor.proposalDeadline(id));
        _vote(alice, id, FOR);
        assertLe(vm.snapshotGasLastCall("castVote, late quorum"), 125_000);
    }

    function test_gasOfQueueAndExecute() public {
        uint256 id = _proposal();
        _openVote(id);
        _vote(alice, id, FOR);
        _closeVote(id);
        governor.queue(id);
        assertLe(vm.snapshotGasLastCall("queue"), 175_000);
        vm.warp(governor.proposalEta(id));
        governor.execute(id);
        assertLe(vm.snapshotGasLastCall("execute setFee"), 125_000);
    }

    function test_gasOfGuardians() public {
        vm.startPrank(alice);
        token.approve(address(guardians), type(uint256).max);
        guardians.register(keccak256("peer"), keccak256("hpke"), 100 ether, 1 ether);
        assertLe(vm.snapshotGasLastCall("register guardian"), 300_000);
        skip(1 days);
        guardians.beat();
        assertLe(vm.snapshotGasLastCall("beat"), 35_000);
    }

    function _proposal() private returns (uint256 id) {
        _call(address(licensing), 0, abi.encodeCall(MusicLicensing.setFee, (200)));
        return _propose(alice, TEXT);
    }
}
