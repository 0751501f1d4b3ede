// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

/// @title MarinaToken
/// @notice Marina.Moda Token (MMT): the vote of the DAO. 1,000,000 at genesis; burnable by its holder; new
/// tokens only by a vote, at most 5 % of the supply in a window of 365 days.
/// @dev There is no owner and no role: the only address with a power is immutable. Votes are counted by
/// timestamps (ERC-6372), because block numbers mean little on a second layer.
contract MarinaToken is ERC20, ERC20Permit, ERC20Votes, ERC20Burnable {
    /// @notice Tokens at genesis, in base units.
    uint256 public constant GENESIS_SUPPLY = 1_000_000 ether;

    /// @notice Length of a minting window in seconds.
    uint256 public constant WINDOW_SECONDS = 365 days;

    /// @notice Share of the supply at a window's start that may be minted in the window, in basis points.
    uint256 public constant WINDOW_MINT_BPS = 500;

    /// @notice The only account that mints: the DAO's timelock.
    address public immutable minter;

    /// @notice When the current window began, in Unix seconds.
    uint64 public windowStart;

    /// @notice What may still be minted in the current window, in base units; a later window has its own.
    uint192 public windowLeft;

    /// @notice Somebody other than the minter asked for new tokens.
    /// @param caller who asked.
    error NotMinter(address caller);

    /// @notice The window has not so much room left.
    /// @param asked base units that were asked for.
    /// @param left base units that may still be minted before the next window.
    error MintCapExceeded(uint256 asked, uint256 left);

    /// @notice An address that must be somebody is zero.
    error ZeroAddress();

    /// @notice A new window for minting began.
    /// @param start its first second.
    /// @param room base units that may be minted in it.
    event MintWindowOpened(uint64 start, uint192 room);

    /// @param genesisHolder gets the tokens of the beginning.
    /// @param minter_ the DAO's timelock.
    constructor(address genesisHolder, address minter_)
        ERC20("Marina.Moda Token", "MMT")
        ERC20Permit("Marina.Moda Token")
    {
        if (minter_ == address(0)) revert ZeroAddress();
        minter = minter_;
        _mint(genesisHolder, GENESIS_SUPPLY);
        _openWindow(uint64(block.timestamp));
    }

    /// @notice Make new tokens; only the DAO, and within the window's room.
    /// @param to gets them.
    /// @param amount base units.
    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        uint256 passed = (block.timestamp - windowStart) / WINDOW_SECONDS;
        if (passed > 0) _openWindow(uint64(windowStart + passed * WINDOW_SECONDS));
        uint256 left = windowLeft;
        if (amount > left) revert MintCapExceeded(amount, left);
        // Smaller than `left`, which has 192 bits.
        windowLeft = uint192(left - amount);
        _mint(to, amount);
    }

    /// @notice Return the time by which votes are counted: Unix seconds.
    /// @return seconds_ of the current block.
    function clock() public view override returns (uint48 seconds_) {
        return uint48(block.timestamp);
    }

    /// @notice Return how votes are counted, in the words of ERC-6372.
    /// @return mode always by timestamp.
    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override returns (string memory mode) {
        return "mode=timestamp";
    }

    /// @notice Return the next unused nonce of an owner's permits and delegations.
    /// @param owner who signs.
    /// @return nonce the number that the next signature carries.
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256 nonce) {
        return super.nonces(owner);
    }

    function _openWindow(uint64 start) private {
        windowStart = start;
        // The supply is bounded by type(uint208).max in ERC20Votes, a twentieth of it fits 208 bits; 1,000,000
        // tokens growing by 5 % a year stay below 192 bits for 1,500 years.
        windowLeft = uint192((totalSupply() * WINDOW_MINT_BPS) / 10_000);
        emit MintWindowOpened(start, windowLeft);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }
}
