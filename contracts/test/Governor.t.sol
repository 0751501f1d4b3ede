// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {MarinaToken} from "../src/MarinaToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {DeploymentFixture} from "./DeploymentFixture.sol";

contract GovernorTest is DeploymentFixture {
    function test_theNumbersOfTheBeginning() public view {
        assertEq(governor.name(), "MarinaGovernor");
        assertEq(governor.votingDelay(), 1 days);
        assertEq(governor.votingPeriod(), 5 days);
        assertEq(governor.proposalThreshold(), 1_000 ether);
        assertEq(governor.quorumNumerator(), 4);
        assertEq(governor.quorumDenominator(), 100);
        assertEq(governor.quorum(block.timestamp - 1), 40_000 ether);
        assertEq(governor.lateQuorumVoteExtension(), 1 days);
        assertEq(timelock.getMinDelay(), 2 days);
        assertEq(governor.CLOCK_MODE(), "mode=timestamp");
        assertEq(governor.COUNTING_MODE(), "support=bravo&quorum=for,abstain");
    }

    function test_aRoundFromTheDelegationToTheChangedFee() public {
        assertEq(licensing.feeBps(), 250);
        _callSetFee(500);
        uint256 id = _propose(alice, "Fee 5 %");
        uint256 made = block.timestamp;
        _assertState(id, IGovernor.ProposalState.Pending);
        assertEq(governor.proposalSnapshot(id), made + 1 days);
        assertEq(governor.proposalDeadline(id), made + 6 days);
        assertTrue(governor.proposalNeedsQueuing(id));

        _openVote(id);
        _assertState(id, IGovernor.ProposalState.Active);
        _vote(alice, id, FOR);
        _vote(bob, id, AGAINST);
        _vote(carol, id, FOR);
        // 60,000 to 60,000: not more for than against.
        _closeVote(id);
        _assertState(id, IGovernor.ProposalState.Defeated);

        _callSetFee(500);
        id = _propose(alice, "Fee 5 %, again");
        _openVote(id);
        _vote(alice, id, FOR);
        _vote(carol, id, ABSTAIN);
        (uint256 against, uint256 inFavour, uint256 abstained) = governor.proposalVotes(id);
        assertEq(against, 0);
        assertEq(inFavour, 50_000 ether);
        assertEq(abstained, 10_000 ether);
        _closeVote(id);
        _assertState(id, IGovernor.ProposalState.Succeeded);
        governor.queue(id);
        _assertState(id, IGovernor.ProposalState.Queued);
        assertEq(governor.proposalEta(id), block.timestamp + 2 days);
        vm.warp(governor.proposalEta(id));
        vm.prank(stranger);
        governor.execute(id);
        _assertState(id, IGovernor.ProposalState.Executed);
        assertEq(licensing.feeBps(), 500);
    }

    function test_aProposerNeedsTheThresholdAndNotMore() public {
        vm.prank(carol);
        token.transfer(stranger, 1_000 ether - 1);
        _delegate(stranger);
        skip(1);
        _callSetFee(1);
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(
                IGovernor.GovernorInsufficientProposerVotes.selector, stranger, 1_000 ether - 1, 1_000 ether
            )
        );
        governor.propose(targets, values, calldatas, "one unit is missing");
        vm.prank(carol);
        token.transfer(stranger, 1);
        skip(1);
        _propose(stranger, "enough");
    }

    function test_aProposalWithNothingInItOrUnequalListsIsRefused() public {
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidProposalLength.selector, 0, 0, 0));
        governor.propose(targets, values, calldatas, "nothing");
        _callSetFee(1);
        values.pop();
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidProposalLength.selector, 1, 1, 0));
        governor.propose(targets, values, calldatas, "unequal");
    }

    function test_nobodyTakesAProposalFromItsAuthorBySendingItFirst() public {
        string memory text = string.concat("Fee 5 % #proposer=", vm.toString(alice));
        _callSetFee(500);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorRestrictedProposer.selector, bob));
        governor.propose(targets, values, calldatas, text);
        _propose(alice, text);
    }

    function test_aVoteCountsFromTheDelayToTheDeadlineOnly() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "when");
        vm.warp(governor.proposalSnapshot(id));
        vm.prank(bob);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Pending, IGovernor.ProposalState.Active));
        governor.castVote(id, FOR);
        _openVote(id);
        _vote(alice, id, FOR);
        vm.warp(governor.proposalDeadline(id));
        _vote(bob, id, AGAINST);
        skip(1);
        vm.prank(carol);
        vm.expectRevert(_unexpected(id, IGovernor.ProposalState.Defeated, IGovernor.ProposalState.Active));
        governor.castVote(id, FOR);
    }

    function test_nobodyVotesTwiceOrForSomethingUnknown() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "once");
        _openVote(id);
        _vote(bob, id, FOR);
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorAlreadyCastVote.selector, bob));
        governor.castVote(id, AGAINST);
        vm.stopPrank();
        vm.startPrank(carol);
        vm.expectRevert(IGovernor.GovernorInvalidVoteType.selector);
        governor.castVote(id, 3);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorNonexistentProposal.selector, id + 1));
        governor.castVote(id + 1, FOR);
    }

    function test_aSignedVoteCountsForItsSigner() public {
        _callSetFee(500);
        uint256 id = _propose(bob, "signed");
        _openVote(id);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("MarinaGovernor"),
                keccak256("1"),
                block.chainid,
                address(governor)
            )
        );
        bytes32 ballot = keccak256(abi.encode(governor.BALLOT_TYPEHASH(), id, FOR, alice, governor.nonces(alice)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(aliceKey, keccak256(abi.encodePacked("\x19\x01", domain, ballot)));
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidSignature.selector, bob));
        governor.castVoteBySig(id, FOR, bob, abi.encodePacked(r, s, v));
        governor.castVoteBySig(id, FOR, alice, abi.encodePacked(r, s, v));
        assertTrue(governor.hasVoted(id, alice));
        (, uint256 inFavour,) = governor.proposalVotes(id);
        assertEq(inFavour, 50_000 ether);
    }

    function test_withoutAQuorumNothingPasses() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "too few");
        vm.startPrank(alice);
        token.transfer(founder, 10_000 ether + 1);
        vm.stopPrank();
        _openVote(id);
        _vote(alice, id, FOR);
        _closeVote(id);
        _assertState(id, IGovernor.ProposalState.Defeated);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        governor.queue(id);
    }

    function test_theQuorumIsReachedAtExactlyFourPercentOfWhichAbstentionsCount() public {
        vm.prank(alice);
        token.transfer(founder, 20_000 ether);
        skip(1);
        _callSetFee(500);
        uint256 id = _propose(alice, "exactly");
        _openVote(id);
        _vote(alice, id, FOR);
        _vote(carol, id, ABSTAIN);
        _closeVote(id);
        _assertState(id, IGovernor.ProposalState.Succeeded);
    }

    function testFuzz_aTokenVotesOnceHoweverOftenItMoves(uint256 moved) public {
        _callSetFee(500);
        uint256 id = _propose(alice, "moving");
        _openVote(id);
        _vote(alice, id, FOR);
        moved = bound(moved, 1, 50_000 ether);
        vm.prank(alice);
        token.transfer(stranger, moved);
        _delegate(stranger);
        skip(1);
        _vote(stranger, id, FOR);
        (, uint256 inFavour,) = governor.proposalVotes(id);
        assertEq(inFavour, 50_000 ether, "the weight is that of the snapshot");
    }

    function test_aQuorumInTheLastHourGivesEverybodyADayMore() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "late");
        uint256 deadline = governor.proposalDeadline(id);
        vm.warp(deadline - 1 hours);
        _vote(alice, id, FOR);
        assertEq(governor.proposalDeadline(id), deadline - 1 hours + 1 days);
        skip(2 hours);
        _assertState(id, IGovernor.ProposalState.Active);
        _vote(bob, id, AGAINST);
        assertEq(governor.proposalDeadline(id), deadline - 1 hours + 1 days, "it is extended once");
        _closeVote(id);
        _assertState(id, IGovernor.ProposalState.Defeated);
    }

    function test_anEarlyQuorumExtendsNothing() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "early");
        uint256 deadline = governor.proposalDeadline(id);
        _openVote(id);
        _vote(alice, id, FOR);
        assertEq(governor.proposalDeadline(id), deadline);
    }

    function test_nothingIsExecutedBeforeTheTimelockOrTwice() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "early");
        _openVote(id);
        _vote(alice, id, FOR);
        _closeVote(id);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        governor.execute(id);
        governor.queue(id);
        vm.warp(governor.proposalEta(id) - 1);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        governor.execute(id);
        skip(1);
        governor.execute(id);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        governor.execute(id);
    }

    function test_anybodyMayExecuteThroughTheTimelockItself() public {
        _callSetFee(500);
        (address target, bytes memory data) = (targets[0], calldatas[0]);
        uint256 id = _propose(alice, "open");
        _pass(id);
        bytes32 salt = bytes20(address(governor)) ^ keccak256("open");
        address[] memory to = new address[](1);
        bytes[] memory payload = new bytes[](1);
        (to[0], payload[0]) = (target, data);
        vm.prank(stranger);
        timelock.executeBatch(to, new uint256[](1), payload, 0, salt);
        assertEq(licensing.feeBps(), 500);
        _assertState(id, IGovernor.ProposalState.Executed);
    }

    function test_onlyTheProposerCancelsAndOnlyBeforeTheVote() public {
        _callSetFee(500);
        uint256 id = _propose(alice, "cancel");
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, id, bob));
        governor.cancel(id);
        uint256 before = vm.snapshotState();
        vm.prank(alice);
        governor.cancel(id);
        _assertState(id, IGovernor.ProposalState.Canceled);
        vm.revertToState(before);
        _openVote(id);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, id, alice));
        governor.cancel(id);
    }

    function test_aCallThatFailsLeavesTheProposalQueued() public {
        _callSetFee(1_001);
        uint256 id = _propose(alice, "more than the contract allows");
        _pass(id);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        governor.execute(id);
        _assertState(id, IGovernor.ProposalState.Queued);
        assertEq(licensing.feeBps(), 250);
    }

    function test_theDaoMintsWithinTheCapByAVote() public {
        _call(address(token), 0, abi.encodeCall(MarinaToken.mint, (bob, 50_000 ether)));
        uint256 id = _propose(alice, "grants of the year");
        _pass(id);
        governor.execute(id);
        assertEq(token.balanceOf(bob), 110_000 ether);
        _call(address(token), 0, abi.encodeCall(MarinaToken.mint, (bob, 1)));
        id = _propose(alice, "one more");
        _pass(id);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.MintCapExceeded.selector, 1, 0));
        governor.execute(id);
    }

    function test_theTreasuryPaysByAVote() public {
        vm.deal(address(timelock), 3 ether);
        vm.prank(founder);
        token.transfer(address(timelock), 500 ether);
        _call(bob, 2 ether, "");
        _call(address(token), 0, abi.encodeCall(token.transfer, (carol, 400 ether)));
        uint256 id = _propose(alice, "two payments");
        _pass(id);
        governor.execute(id);
        assertEq(bob.balance, 2 ether);
        assertEq(token.balanceOf(carol), 10_400 ether);
        assertEq(address(timelock).balance, 1 ether);
    }

    function test_theGovernorItselfTakesNoMoney() public {
        vm.deal(alice, 1 ether);
        vm.prank(alice);
        (bool taken,) = address(governor).call{value: 1 ether}("");
        assertFalse(taken);
    }

    function test_theDaoChangesItsOwnNumbersByAVoteOnly() public {
        bytes memory refusal = abi.encodeWithSelector(IGovernor.GovernorOnlyExecutor.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        governor.setVotingDelay(1);
        vm.expectRevert(refusal);
        governor.setVotingPeriod(1);
        vm.expectRevert(refusal);
        governor.setProposalThreshold(0);
        vm.expectRevert(refusal);
        governor.updateQuorumNumerator(1);
        vm.expectRevert(refusal);
        governor.setLateQuorumVoteExtension(0);
        vm.expectRevert(refusal);
        governor.updateTimelock(TimelockController(payable(stranger)));
        vm.expectRevert(refusal);
        governor.relay(stranger, 0, "");
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, stranger));
        timelock.updateDelay(0);
        vm.stopPrank();

        _call(address(governor), 0, abi.encodeCall(governor.setVotingDelay, (2 days)));
        _call(address(governor), 0, abi.encodeCall(governor.setVotingPeriod, (7 days)));
        _call(address(governor), 0, abi.encodeCall(governor.setProposalThreshold, (500 ether)));
        _call(address(governor), 0, abi.encodeCall(governor.updateQuorumNumerator, (5)));
        _call(address(governor), 0, abi.encodeCall(governor.setLateQuorumVoteExtension, (2 days)));
        _call(address(timelock), 0, abi.encodeCall(timelock.updateDelay, (3 days)));
        uint256 id = _propose(alice, "new numbers");
        _pass(id);
        governor.execute(id);
        assertEq(governor.votingDelay(), 2 days);
        assertEq(governor.votingPeriod(), 7 days);
        assertEq(governor.proposalThreshold(), 500 ether);
        assertEq(governor.quorumNumerator(), 5);
        assertEq(governor.lateQuorumVoteExtension(), 2 days);
        assertEq(timelock.getMinDelay(), 3 days);
    }

    function test_aPastQuorumIsThatOfItsTime() public {
        uint256 before = block.timestamp - 1;
        _call(address(governor), 0, abi.encodeCall(governor.updateQuorumNumerator, (10)));
        uint256 id = _propose(alice, "ten percent");
        _pass(id);
        governor.execute(id);
        skip(1);
        assertEq(governor.quorum(block.timestamp - 1), 100_000 ether);
        assertEq(governor.quorum(before), 40_000 ether);
    }

    function test_proposalsAreReadFromTheChain() public {
        _callSetFee(500);
        bytes memory data = calldatas[0];
        uint256 id = _propose(alice, "stored");
        assertEq(governor.proposalCount(), 1);
        (uint256 found,,,,) = governor.proposalDetailsAt(0);
        assertEq(found, id);
        (address[] memory to,, bytes[] memory payload, bytes32 textHash) = governor.proposalDetails(id);
        assertEq(to[0], address(licensing));
        assertEq(payload[0], data);
        assertEq(textHash, keccak256("stored"));
        assertEq(governor.proposalProposer(id), alice);
    }

    function _callSetFee(uint16 feeBps) private {
        _call(address(licensing), 0, abi.encodeCall(MusicLicensing.setFee, (feeBps)));
    }

    function _unexpected(uint256 id, IGovernor.ProposalState found, IGovernor.ProposalState wanted)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(IGovernor.GovernorUnexpectedProposalState.selector, id, found, _bit(wanted));
    }
}
