// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {Split} from "../src/lib/Splits.sol";

/// @notice Who gets what depends on what came in and on the splits, and on nothing else: not on who asks for the
/// division, nor on how often.
contract SharesTest is Fixture {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        vm.prank(artist);
        id = registry.register(registration(1, threeSplits()));
        vm.deal(listener, type(uint128).max);
    }

    function give(uint256 amount) private {
        vm.prank(listener);
        licensing.tip{value: amount}(id, 0, amount);
    }

    function settle() private {
        licensing.settle(id, threeSplits(), address(0));
    }

    function waiting() private view returns (uint256 gross) {
        (gross,) = licensing.accrual(id, registry.splitsHashOf(id), address(0));
    }

    function assertShares(uint256 total) private view {
        uint256 sum;
        Split[] memory splits = threeSplits();
        for (uint256 i; i < splits.length; ++i) {
            uint256 part = licensing.owed(splits[i].account, address(0));
            assertEq(part, (total * splits[i].bps) / 10_000);
            sum += part;
        }
        assertEq(waiting(), total - sum);
    }

    function test_leftOversAreNotDividedAgain() public {
        // 6 + 1 + 0 of 9: the two that are left over would give the first another one.
        give(9);
        settle();
        assertShares(9);
        assertEq(waiting(), 2);
        for (uint256 i; i < 5; ++i) {
            vm.recordLogs();
            settle();
            assertEq(vm.getRecordedLogs().length, 0);
        }
        assertShares(9);
    }

    function test_dividingEveryUnitAloneTakesFromNobody() public {
        for (uint256 i = 1; i <= 100; ++i) {
            give(1);
            settle();
            assertShares(i);
        }
        assertEq(waiting(), 0);
    }

    function test_sharesDoNotDependOnHowOftenSomebodyAsks(uint64[12] calldata amounts, uint16 asked) public {
        uint256 total;
        for (uint256 i; i < amounts.length; ++i) {
            uint256 amount = bound(amounts[i], 1, type(uint64).max);
            give(amount);
            total += amount;
            if ((asked >> i) & 1 == 1) {
                settle();
                assertShares(total);
            }
        }
        settle();
        assertShares(total);
        assertLe(waiting(), 2);
    }

    /// @notice Thirty-two collaborators, and the largest sums that the ledger holds.
    function test_theLongestListAndTheLargestSumAreDivided(uint128 amount) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        Split[] memory splits = new Split[](32);
        for (uint256 i; i < 32; ++i) {
            splits[i] = Split(address(uint160(0x1000 + i)), i == 31 ? 10_000 - 31 * 313 : 313);
        }
        vm.prank(artist);
        registry.setSplits(id, splits);
        give(amount);
        licensing.settle(id, splits, address(0));
        uint256 paid;
        for (uint256 i; i < 32; ++i) {
            paid += licensing.owed(splits[i].account, address(0));
        }
        assertEq(paid + waiting(), amount);
        assertLe(waiting(), 31);
    }

    function test_moneyOfTwoListsIsKeptApart(uint64 first, uint64 second, uint64 third) public {
        first = uint64(bound(first, 1, type(uint64).max));
        second = uint64(bound(second, 1, type(uint64).max));
        third = uint64(bound(third, 1, type(uint64).max));
        give(first);
        vm.prank(artist);
        registry.setSplits(id, oneSplit(singer));
        give(second);
        vm.prank(artist);
        registry.setSplits(id, threeSplits());
        give(third);
        licensing.settle(id, oneSplit(singer), address(0));
        assertEq(licensing.owed(singer, address(0)), second);
        settle();
        assertShares(uint256(first) + third);
    }
}
