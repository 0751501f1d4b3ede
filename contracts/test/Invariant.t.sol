// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {TrackEditions} from "../src/TrackEditions.sol";
import {Split} from "../src/lib/Splits.sol";
import {Market} from "./actors/Market.sol";

/// @notice What holds whatever anybody does in whatever order.
contract InvariantTest is Fixture {
    Market private market;

    function setUp() public override {
        super.setUp();
        market = new Market(registry, licensing, editions, dollars, dollarIndex);
        targetContract(address(market));
        bytes4[] memory actions = new bytes4[](13);
        actions[0] = Market.purchase.selector;
        actions[1] = Market.revoke.selector;
        actions[2] = Market.tip.selector;
        actions[3] = Market.buyEdition.selector;
        actions[4] = Market.giveEdition.selector;
        actions[5] = Market.settle.selector;
        actions[6] = Market.withdraw.selector;
        actions[7] = Market.changeSplits.selector;
        actions[8] = Market.sellRight.selector;
        actions[9] = Market.stop.selector;
        actions[10] = Market.govern.selector;
        actions[11] = Market.trespass.selector;
        actions[12] = Market.wait.selector;
        targetSelector(FuzzSelector(address(market), actions));
    }

    function invariant_balancesCoverWhatIsOwedToTheUnit() public view {
        assertEq(address(licensing).balance, market.liabilities(address(0)));
        assertEq(dollars.balanceOf(address(licensing)), market.liabilities(address(dollars)));
        assertEq(market.cameIn(address(0)) - market.wentOut(address(0)), address(licensing).balance);
        assertEq(
            market.cameIn(address(dollars)) - market.wentOut(address(dollars)), dollars.balanceOf(address(licensing))
        );
    }

    function invariant_editionsKeepNothingAndStayBelowTheirCaps() public view {
        assertEq(address(editions).balance, 0);
        assertEq(dollars.balanceOf(address(editions)), 0);
        for (uint256 i; i < market.EDITIONS(); ++i) {
            uint256 number = market.numbers(i);
            TrackEditions.Edition memory found = editions.edition(number);
            assertLe(found.minted, found.cap);
            uint256 held;
            for (uint256 who; who < market.PEOPLE(); ++who) {
                held += editions.balanceOf(market.people(who), number);
            }
            assertEq(held, found.minted);
        }
    }

    function invariant_theFeeIsAtMostATenth() public view {
        assertLe(licensing.feeBps(), 1_000);
    }

    function invariant_licencesEndWhenTheBooksSay() public view {
        for (uint256 i; i < market.licenceCount(); ++i) {
            bytes32 licenceId = market.licences(i);
            assertEq(licensing.expiresAt(licenceId), market.ends(licenceId));
        }
    }

    function invariant_nothingWentWrong() public view {
        assertEq(market.fault(), "");
    }

    /// @dev In the end everything is divided and paid out, but what each list's rounding leaves. Everybody has got its
    /// part of what came in under each list that names it, to the unit: however often somebody divided on the way, and
    /// whatever the splits were changed to.
    function afterInvariant() public {
        for (uint256 each; each < 2; ++each) {
            address token = each == 0 ? address(0) : address(dollars);
            uint256 left;
            for (uint256 track; track < market.TRACKS(); ++track) {
                for (uint256 which; which < market.listCount(); ++which) {
                    left += _divide(market.ids(track), which, token);
                }
            }
            for (uint256 i; i < market.PEOPLE(); ++i) {
                address account = market.people(i);
                uint256 paid = licensing.withdraw(account, token) + market.paidTo(account, token);
                assertEq(paid, market.besides(account, token) + market.sharesOf(account, token));
            }
            assertEq(licensing.withdraw(dao, token) + market.paidTo(dao, token), market.besides(dao, token));
            assertEq(each == 0 ? address(licensing).balance : dollars.balanceOf(address(licensing)), left);
        }
    }

    function _divide(bytes32 id, uint256 which, address token) private returns (uint256 left) {
        Split[] memory splits = market.list(market.lists(which));
        licensing.settle(id, splits, token);
        (left,) = licensing.accrual(id, market.hashes(which), token);
        uint256 earned = market.earned(market.key(id, market.hashes(which), token));
        uint256 rest = earned;
        for (uint256 i; i < splits.length; ++i) {
            rest -= (earned * splits[i].bps) / 10_000;
        }
        assertEq(left, rest);
    }
}
