// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorPreventLateQuorum} from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";
import {GovernorSettings} from "@openzeppelin/contracts/governance/extensions/GovernorSettings.sol";
import {GovernorStorage} from "@openzeppelin/contracts/governance/extensions/GovernorStorage.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {
    GovernorVotesQuorumFraction
} from "@openzeppelin/contracts/governance/extensions/GovernorVotesQuorumFraction.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";

/// @title MarinaGovernor
/// @notice The DAO: holders of MMT propose, vote, and after two days of waiting anybody executes.
/// @dev OpenZeppelin's governor, put together and given its numbers; it adds no logic of its own. Proposals
/// are kept on the chain, so queue, execute and cancel need only their id.
contract MarinaGovernor is
    Governor,
    GovernorSettings,
    GovernorCountingSimple,
    GovernorStorage,
    GovernorVotes,
    GovernorVotesQuorumFraction,
    GovernorTimelockControl,
    GovernorPreventLateQuorum
{
    /// @notice Seconds from a proposal to the start of its vote, at the beginning.
    uint48 public constant INITIAL_DELAY_SECONDS = 1 days;

    /// @notice Seconds that a vote lasts, at the beginning.
    uint32 public constant INITIAL_PERIOD_SECONDS = 5 days;

    /// @notice Votes that a proposer needs, at the beginning: a thousandth of the first supply.
    uint256 public constant INITIAL_THRESHOLD = 1_000 ether;

    /// @notice Percent of the supply that must vote for or abstain, at the beginning.
    uint256 public constant INITIAL_QUORUM_PERCENT = 4;

    /// @notice Seconds that a vote goes on after a late quorum, at the beginning.
    uint48 public constant INITIAL_EXTENSION_SECONDS = 1 days;

    /// @param token_ whose holders vote.
    /// @param timelock_ executes what was decided, and holds the treasury.
    constructor(IVotes token_, TimelockController timelock_)
        Governor("MarinaGovernor")
        GovernorSettings(INITIAL_DELAY_SECONDS, INITIAL_PERIOD_SECONDS, INITIAL_THRESHOLD)
        GovernorVotes(token_)
        GovernorVotesQuorumFraction(INITIAL_QUORUM_PERCENT)
        GovernorTimelockControl(timelock_)
        GovernorPreventLateQuorum(INITIAL_EXTENSION_SECONDS)
    {}

    /// @notice Return the seconds from a proposal to the start of its vote.
    /// @return seconds_ as the DAO set them.
    function votingDelay() public view override(Governor, GovernorSettings) returns (uint256 seconds_) {
        return super.votingDelay();
    }

    /// @notice Return the seconds that a vote lasts.
    /// @return seconds_ as the DAO set them.
    function votingPeriod() public view override(Governor, GovernorSettings) returns (uint256 seconds_) {
        return super.votingPeriod();
    }

    /// @notice Return the votes that a proposer needs.
    /// @return votes in base units of MMT.
    function proposalThreshold() public view override(Governor, GovernorSettings) returns (uint256 votes) {
        return super.proposalThreshold();
    }

    /// @notice Return when a proposal's vote ends, a late quorum's extension included.
    /// @param proposalId the proposal.
    /// @return timepoint Unix seconds.
    function proposalDeadline(uint256 proposalId)
        public
        view
        override(Governor, GovernorPreventLateQuorum)
        returns (uint256 timepoint)
    {
        return super.proposalDeadline(proposalId);
    }

    /// @notice Return where a proposal stands.
    /// @param proposalId the proposal.
    /// @return state_ pending, active, canceled, defeated, succeeded, queued, expired or executed.
    function state(uint256 proposalId)
        public
        view
        override(Governor, GovernorTimelockControl)
        returns (ProposalState state_)
    {
        return super.state(proposalId);
    }

    /// @notice Return whether a proposal must be queued before it is executed.
    /// @param proposalId the proposal.
    /// @return needed always true: the timelock executes.
    function proposalNeedsQueuing(uint256 proposalId)
        public
        view
        override(Governor, GovernorTimelockControl)
        returns (bool needed)
    {
        return super.proposalNeedsQueuing(proposalId);
    }

    function _propose(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        string memory description,
        address proposer
    ) internal override(Governor, GovernorStorage) returns (uint256) {
        return super._propose(targets, values, calldatas, description, proposer);
    }

    function _queueOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint48) {
        return super._queueOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) {
        super._executeOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _cancel(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint256) {
        return super._cancel(targets, values, calldatas, descriptionHash);
    }

    function _tallyUpdated(uint256 proposalId) internal override(Governor, GovernorPreventLateQuorum) {
        super._tallyUpdated(proposalId);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }
}
