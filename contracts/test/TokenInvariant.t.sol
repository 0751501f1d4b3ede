// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {MarinaToken} from "../src/MarinaToken.sol";

/// @notice Holders who transfer, delegate and burn at random, and a DAO that mints whenever it may.
contract TokenHandler is Test {
    MarinaToken public immutable token;
    address public immutable minter;
    uint256 public immutable start;
    address[5] public holders;
    uint256 public minted;

    /// @notice Minted in a window, and a twentieth of the supply with which the window opened.
    mapping(uint64 window => uint256) public mintedIn;
    mapping(uint64 window => uint256) public roomOf;
    uint64[] public windows;

    constructor(MarinaToken token_, address minter_, address[5] memory holders_) {
        (token, minter, holders, start) = (token_, minter_, holders_, block.timestamp);
        windows.push(token_.windowStart());
        roomOf[token_.windowStart()] = token_.windowLeft();
    }

    function windowCount() external view returns (uint256) {
        return windows.length;
    }

    function transfer(uint256 from, uint256 to, uint256 amount) external {
        address sender = holders[from % 5];
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        token.transfer(holders[to % 5], amount);
    }

    function delegate(uint256 from, uint256 to) external {
        // One in six delegates to nobody.
        vm.prank(holders[from % 5]);
        token.delegate(to % 6 == 5 ? address(0) : holders[to % 5]);
    }

    function burn(uint256 from, uint256 amount) external {
        address sender = holders[from % 5];
        amount = bound(amount, 0, token.balanceOf(sender) / 4);
        vm.prank(sender);
        token.burn(amount);
    }

    function mint(uint256 to, uint256 amount) external {
        uint256 supply = token.totalSupply();
        amount = bound(amount, 0, supply / 10);
        vm.prank(minter);
        try token.mint(holders[to % 5], amount) {
            uint64 window = token.windowStart();
            if (window != windows[windows.length - 1]) {
                windows.push(window);
                roomOf[window] = supply / 20;
            }
            mintedIn[window] += amount;
            minted += amount;
        } catch {}
    }

    function wait(uint256 seconds_) external {
        skip(bound(seconds_, 1, 200 days));
    }
}

contract TokenInvariantTest is Test {
    MarinaToken internal token;
    TokenHandler internal handler;
    address[5] internal holders;

    function setUp() public {
        vm.warp(1_800_000_000);
        for (uint256 i; i < 5; ++i) {
            holders[i] = address(uint160(0xbeef00 + i));
        }
        address minter = makeAddr("timelock");
        token = new MarinaToken(holders[0], minter);
        handler = new TokenHandler(token, minter, holders);
        targetContract(address(handler));
    }

    function invariant_votesAreTheBalancesOfThoseWhoDelegated() public view {
        uint256 votes;
        uint256 delegated;
        uint256 held;
        for (uint256 i; i < 5; ++i) {
            votes += token.getVotes(holders[i]);
            held += token.balanceOf(holders[i]);
            if (token.delegates(holders[i]) != address(0)) delegated += token.balanceOf(holders[i]);
        }
        assertEq(votes, delegated);
        assertEq(held, token.totalSupply());
        assertLe(votes, token.totalSupply());
    }

    function invariant_noWindowMintsMoreThanItsRoom() public view {
        for (uint256 i; i < handler.windowCount(); ++i) {
            uint64 window = handler.windows(i);
            assertLe(handler.mintedIn(window), handler.roomOf(window));
        }
    }

    function invariant_theSupplyGrowsByFivePercentAYearAtMost() public view {
        uint256 cap = token.GENESIS_SUPPLY();
        for (uint256 year; year <= (block.timestamp - handler.start()) / 365 days; ++year) {
            cap += cap / 20;
        }
        assertLe(token.totalSupply(), cap);
    }
}
