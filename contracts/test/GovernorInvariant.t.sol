// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {Test} from "forge-std/Test.sol";
import {MarinaGovernor} from "../src/MarinaGovernor.sol";
import {MarinaToken} from "../src/MarinaToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {DeploymentFixture} from "./DeploymentFixture.sol";

/// @notice Members who propose fees, sane and not, who vote, trade their votes and execute at random.
contract GovernorHandler is Test {
    MarinaGovernor public immutable governor;
    MarinaToken public immutable token;
    MusicLicensing public immutable licensing;
    address[4] public members;

    uint256[] public proposals;
    mapping(uint256 proposal => uint16) public feeOf;
    /// @notice The fee that was decided last; executed proposals are what it may change by.
    uint16 public decidedFee;
    uint256 public executed;
    uint256 public withoutMajority;
    uint256 public tooEarly;

    constructor(MarinaGovernor governor_, MarinaToken token_, MusicLicensing licensing_, address[4] memory members_) {
        (governor, token, licensing, members) = (governor_, token_, licensing_, members_);
        decidedFee = licensing_.feeBps();
    }

    function proposalCount() external view returns (uint256) {
        return proposals.length;
    }

    function propose(uint256 who, uint16 feeBps) external {
        // Few at a time: else no walk follows one of them to its end.
        if (proposals.length > 1 && _isOpen(_recent(0)) && _isOpen(_recent(1))) return;
        address member = members[who % 4];
        feeBps = uint16(bound(feeBps, 0, 1_300));
        address[] memory to = new address[](1);
        bytes[] memory data = new bytes[](1);
        (to[0], data[0]) = (address(licensing), abi.encodeCall(MusicLicensing.setFee, (feeBps)));
        vm.prank(member);
        try governor.propose(to, new uint256[](1), data, vm.toString(proposals.length)) returns (uint256 id) {
            proposals.push(id);
            feeOf[id] = feeBps;
        } catch {}
    }

    function vote(uint256 who, uint256 which, uint8 support) external {
        if (proposals.length == 0) return;
        vm.prank(members[who % 4]);
        try governor.castVote(_recent(which), support % 3) {} catch {}
    }

    /// @notice What comes next in a proposal's life, so that random walks reach executions: wait, vote, queue, execute.
    function carryOn(uint256 which, uint256 opinions) external {
        if (proposals.length == 0) return;
        uint256 id = _recent(which);
        IGovernor.ProposalState state = governor.state(id);
        if (state == IGovernor.ProposalState.Pending) {
            vm.warp(governor.proposalSnapshot(id) + 1);
        } else if (state == IGovernor.ProposalState.Active) {
            for (uint256 i; i < 4; ++i) {
                // Two in four are for it.
                uint8 support = uint8((opinions >> (8 * i)) % 4);
                vm.prank(members[i]);
                try governor.castVote(id, support == 3 ? 1 : support) {} catch {}
            }
            vm.warp(governor.proposalDeadline(id) + 1);
        } else if (state == IGovernor.ProposalState.Succeeded) {
            governor.queue(id);
        } else if (state == IGovernor.ProposalState.Queued) {
            if (block.timestamp < governor.proposalEta(id)) vm.warp(governor.proposalEta(id));
            _execute(id);
        }
    }

    function queue(uint256 which) external {
        if (proposals.length == 0) return;
        try governor.queue(_recent(which)) {} catch {}
    }

    function execute(uint256 which) external {
        if (proposals.length == 0) return;
        _execute(_recent(which));
    }

    function trade(uint256 from, uint256 to, uint256 amount) external {
        address sender = members[from % 4];
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        token.transfer(members[to % 4], amount);
    }

    function delegate(uint256 from, uint256 to) external {
        vm.prank(members[from % 4]);
        token.delegate(members[to % 4]);
    }

    function wait(uint256 seconds_) external {
        skip(bound(seconds_, 1 hours, 3 days));
    }

    function _execute(uint256 id) private {
        uint256 eta = governor.proposalEta(id);
        try governor.execute(id) {
            executed += 1;
            decidedFee = feeOf[id];
            (uint256 against, uint256 inFavour, uint256 abstained) = governor.proposalVotes(id);
            uint256 quorum = governor.quorum(governor.proposalSnapshot(id));
            if (inFavour <= against || inFavour + abstained < quorum) withoutMajority += 1;
            if (eta == 0 || block.timestamp < eta || eta < governor.proposalDeadline(id) + 2 days) tooEarly += 1;
        } catch {}
    }

    function _isOpen(uint256 id) private view returns (bool open) {
        IGovernor.ProposalState state = governor.state(id);
        return state != IGovernor.ProposalState.Defeated && state != IGovernor.ProposalState.Executed;
    }

    /// @dev The last two proposals, so that a random walk gets one of them to its end now and then.
    function _recent(uint256 which) private view returns (uint256 id) {
        uint256 count = proposals.length;
        return proposals[count - 1 - (count > 1 ? which % 2 : 0)];
    }
}

/// forge-config: default.invariant.depth = 64
/// forge-config: default.invariant.runs = 16
contract GovernorInvariantTest is DeploymentFixture {
    GovernorHandler internal handler;

    function setUp() public override {
        super.setUp();
        handler = new GovernorHandler(governor, token, licensing, [founder, alice, bob, carol]);
        targetContract(address(handler));
    }

    function invariant_theFeeIsWhatWasDecidedAndNeverAboveTenPercent() public view {
        assertLe(licensing.feeBps(), 1_000);
        assertEq(licensing.feeBps(), handler.decidedFee());
    }

    function invariant_nothingIsExecutedWithoutAMajorityAQuorumAndTheWait() public view {
        assertEq(handler.withoutMajority(), 0);
        assertEq(handler.tooEarly(), 0);
    }

    function invariant_noProposalHasMoreVotesThanThereWereTokens() public view {
        for (uint256 i; i < handler.proposalCount(); ++i) {
            uint256 id = handler.proposals(i);
            if (governor.state(id) == IGovernor.ProposalState.Pending) continue;
            (uint256 against, uint256 inFavour, uint256 abstained) = governor.proposalVotes(id);
            assertLe(against + inFavour + abstained, token.getPastTotalSupply(governor.proposalSnapshot(id)));
        }
    }

    function test_theWalkReachesExecutions() public {
        handler.propose(1, 700);
        for (uint256 step; step < 4; ++step) {
            handler.carryOn(0, 0x01010101);
        }
        assertEq(handler.executed(), 1);
        assertEq(licensing.feeBps(), 700);
    }
}
