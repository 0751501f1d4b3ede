// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One collaborator's part of what a track or release earns.
/// @param account who is paid.
/// @param bps its part in basis points.
struct Split {
    address account;
    uint16 bps;
}

/// @title Splits
/// @notice The rules of a list of splits. Only its hash is stored; who distributes supplies the list.
library Splits {
    /// @notice The most collaborators that a list can have.
    uint256 internal constant MAX = 32;

    /// @notice What all parts add up to.
    uint256 internal constant WHOLE_BPS = 10_000;

    /// @notice A list is empty, too long, unsorted, names somebody twice or nobody, or does not add up.
    error InvalidSplits();

    /// @notice Check a list and return its hash.
    /// @dev Sorted by account, so that one distribution has one hash.
    /// @param splits the list.
    /// @return digest keccak256 of its ABI encoding.
    function check(Split[] calldata splits) internal pure returns (bytes32 digest) {
        uint256 count = splits.length;
        if (count == 0 || count > MAX) revert InvalidSplits();
        uint256 sum;
        address last;
        for (uint256 i; i < count; ++i) {
            Split calldata each = splits[i];
            if (each.account <= last || each.bps == 0) revert InvalidSplits();
            last = each.account;
            sum += each.bps;
        }
        if (sum != WHOLE_BPS) revert InvalidSplits();
        return hash(splits);
    }

    /// @notice Return the hash by which a list is known.
    /// @param splits the list.
    /// @return digest keccak256 of its ABI encoding.
    function hash(Split[] calldata splits) internal pure returns (bytes32 digest) {
        return keccak256(abi.encode(splits));
    }
}
