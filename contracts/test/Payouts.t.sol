// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {Bomb, Refuser} from "./actors/Receivers.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {Split, Splits} from "../src/lib/Splits.sol";

/// @notice How money is divided, and how it goes out.
contract PayoutsTest is Fixture {
    address private constant COIN = address(0);

    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
    }

    function splits() private view returns (Split[] memory made) {
        return splitsOf(artist, 9_000, mixer);
    }

    function tipped(uint256 amount) private {
        vm.deal(listener, amount);
        vm.prank(listener);
        licensing.tip{value: amount}(id, 0, amount);
    }

    function deposited(uint256 amount) private {
        vm.deal(listener, amount);
        vm.prank(listener);
        licensing.deposit{value: amount}(id, 0, amount);
    }

    function waiting(Split[] memory list) private view returns (uint256 gross, uint256 fee) {
        return licensing.accrual(id, keccak256(abi.encode(list)), COIN);
    }

    // Division

    function test_everybodyGetsItsPart() public {
        deposited(1 ether);
        for (uint256 i; i < 2; ++i) {
            Split memory each = splits()[i];
            vm.expectEmit(address(licensing));
            emit SplitLedger.Credited(each.account, COIN, id, 0.0000975 ether * uint256(each.bps));
        }
        vm.expectEmit(address(licensing));
        emit SplitLedger.Credited(dao, COIN, id, 0.025 ether);
        vm.expectEmit(address(licensing));
        emit SplitLedger.Settled(id, COIN, keccak256(abi.encode(splits())), 0.975 ether, 0.025 ether);
        licensing.settle(id, splits(), COIN);
        assertEq(licensing.owed(artist, COIN), 0.8775 ether);
        assertEq(licensing.owed(mixer, COIN), 0.0975 ether);
        assertEq(licensing.owed(dao, COIN), 0.025 ether);
        (uint256 gross, uint256 fee) = waiting(splits());
        assertEq(gross, 0);
        assertEq(fee, 0);
    }

    function test_dividingAgainDoesNothing() public {
        deposited(1 ether + 1);
        licensing.settle(id, splits(), COIN);
        uint256[3] memory before =
            [licensing.owed(artist, COIN), licensing.owed(mixer, COIN), licensing.owed(dao, COIN)];
        vm.recordLogs();
        licensing.settle(id, splits(), COIN);
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(licensing.owed(artist, COIN), before[0]);
        assertEq(licensing.owed(mixer, COIN), before[1]);
        assertEq(licensing.owed(dao, COIN), before[2]);
    }

    function test_aListUnderWhichNothingWasEarnedDividesNothing() public {
        deposited(1 ether);
        licensing.settle(id, oneSplit(listener), COIN);
        licensing.settle(id, splits(), address(dollars));
        licensing.settle(bytes32(uint256(1)), splits(), COIN);
        assertEq(licensing.owed(listener, COIN), 0);
        (uint256 gross,) = waiting(splits());
        assertEq(gross, 1 ether);
    }

    function test_aListThatIsNoListIsRefused() public {
        Split[] memory list = splits();
        list[0].bps += 1;
        vm.expectRevert(Splits.InvalidSplits.selector);
        licensing.settle(id, list, COIN);
    }

    function test_aFeeAloneIsPaidOutToo() public {
        vm.prank(artist);
        registry.setSplits(id, threeSplits());
        vm.prank(dao);
        licensing.setFee(1_000);
        // Of ten units one is the fee; of nine, one collaborator gets six and another one: two wait.
        deposited(10);
        licensing.settle(id, threeSplits(), COIN);
        assertEq(licensing.owed(dao, COIN), 1);
        (uint256 gross, uint256 fee) = waiting(threeSplits());
        assertEq(gross, 2);
        assertEq(fee, 0);
    }

    function test_theDaoMayBeACollaboratorToo() public {
        vm.prank(artist);
        registry.setSplits(id, splitsOf(artist, 5_000, dao));
        deposited(1 ether);
        licensing.settle(id, splitsOf(artist, 5_000, dao), COIN);
        assertEq(licensing.owed(dao, COIN), 0.4875 ether + 0.025 ether);
    }

    function test_newSplitsDoNotMoveWhatWasEarnedBefore() public {
        deposited(1 ether);
        Split[] memory later = oneSplit(singer);
        vm.prank(artist);
        registry.setSplits(id, later);
        deposited(2 ether);
        licensing.settle(id, later, COIN);
        assertEq(licensing.owed(singer, COIN), 1.95 ether);
        assertEq(licensing.owed(artist, COIN), 0);
        licensing.settle(id, splits(), COIN);
        assertEq(licensing.owed(singer, COIN), 1.95 ether);
        assertEq(licensing.owed(artist, COIN), 0.8775 ether);
        assertEq(licensing.owed(mixer, COIN), 0.0975 ether);
    }

    function randomSplits(uint256 seed, uint256 count) private pure returns (Split[] memory made) {
        made = new Split[](count);
        uint256 left = 10_000;
        for (uint256 i; i < count; ++i) {
            uint256 most = left - (count - 1 - i);
            uint256 bps = i == count - 1 ? left : 1 + uint256(keccak256(abi.encode(seed, i))) % ((most + 1) / 2);
            left -= bps;
            made[i] = Split(address(uint160(0x1000 + i)), uint16(bps));
        }
    }

    /// @notice Nothing is lost, nothing is made, and how often somebody asks changes nobody's share.
    function test_sharesAddUpHoweverOftenTheyAreDivided(
        uint256 seed,
        uint8 people,
        uint96[5] memory amounts,
        uint8 asks
    ) public {
        uint256 count = bound(people, 1, 32);
        Split[] memory list = randomSplits(seed, count);
        vm.prank(artist);
        registry.setSplits(id, list);
        uint256 net;
        uint256 fees;
        for (uint256 i; i < amounts.length; ++i) {
            deposited(amounts[i]);
            uint256 fee = uint256(amounts[i]) * 250 / 10_000;
            fees += fee;
            net += amounts[i] - fee;
            if (asks & (1 << i) != 0) licensing.settle(id, list, COIN);
        }
        licensing.settle(id, list, COIN);
        uint256 divided;
        for (uint256 i; i < count; ++i) {
            uint256 part = licensing.owed(list[i].account, COIN);
            assertEq(part, net * list[i].bps / 10_000);
            divided += part;
        }
        assertEq(licensing.owed(dao, COIN), fees);
        (uint256 gross, uint256 fee_) = waiting(list);
        assertEq(fee_, 0);
        assertEq(divided + gross, net);
        assertLt(gross, count);
    }

    // Money out

    function test_anybodyHasAnAccountPaid() public {
        deposited(1 ether);
        licensing.settle(id, splits(), COIN);
        vm.expectEmit(address(licensing));
        emit SplitLedger.Withdrawn(artist, COIN, 0.8775 ether);
        vm.prank(listener);
        assertEq(licensing.withdraw(artist, COIN), 0.8775 ether);
        assertEq(artist.balance, 0.8775 ether);
        assertEq(listener.balance, 0);
        assertEq(licensing.withdraw(artist, COIN), 0);
        assertEq(artist.balance, 0.8775 ether);
    }

    function test_theWholeSumLeavesInTheEnd() public {
        deposited(1 ether);
        licensing.settle(id, splits(), COIN);
        assertEq(
            licensing.withdraw(artist, COIN) + licensing.withdraw(mixer, COIN) + licensing.withdraw(dao, COIN), 1 ether
        );
        assertEq(address(licensing).balance, 0);
    }

    function test_anAccountIsPaidInSeveralTokensAtOnce() public {
        deposited(1 ether);
        dollars.mint(listener, 10e6);
        vm.startPrank(listener);
        dollars.approve(address(licensing), 10e6);
        licensing.tip(id, dollarIndex, 10e6);
        licensing.settle(id, splits(), COIN);
        licensing.settle(id, splits(), address(dollars));
        address[] memory which = new address[](3);
        (which[0], which[1], which[2]) = (address(dollars), COIN, address(dollars));
        licensing.withdrawMany(mixer, which);
        assertEq(mixer.balance, 0.0975 ether);
        assertEq(dollars.balanceOf(mixer), 1e6);
        vm.expectRevert(SplitLedger.TooManyTokens.selector);
        licensing.withdrawMany(mixer, new address[](257));
    }

    function test_aReceiverThatRefusesHarmsNobodyElse() public {
        address refuser = address(new Refuser());
        Split[] memory list = splitsOf(artist, 5_000, refuser);
        vm.prank(artist);
        registry.setSplits(id, list);
        deposited(1 ether);
        licensing.settle(id, list, COIN);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.PaymentRefused.selector, refuser));
        licensing.withdraw(refuser, COIN);
        assertEq(licensing.owed(refuser, COIN), 0.4875 ether);
        assertEq(licensing.withdraw(artist, COIN), 0.4875 ether);
        assertEq(licensing.withdraw(dao, COIN), 0.025 ether);
        vm.etch(refuser, "");
        assertEq(licensing.withdraw(refuser, COIN), 0.4875 ether);
    }

    function test_aLongAnswerCostsNobodyMuch() public {
        address bomb = address(new Bomb());
        vm.prank(artist);
        registry.setSplits(id, oneSplit(bomb));
        tipped(1 ether);
        licensing.settle(id, oneSplit(bomb), COIN);
        // The bomb pays for its own megabyte (about 2.1 million gas); copying it would cost as much again.
        uint256 before = gasleft();
        licensing.withdraw{gas: 3_000_000}(bomb, COIN);
        assertLt(before - gasleft(), 2_500_000);
        assertEq(bomb.balance, 1 ether);
    }

    function test_coinsForcedInAreNobodys() public {
        deposited(1 ether);
        vm.deal(address(licensing), 5 ether);
        licensing.settle(id, splits(), COIN);
        licensing.withdraw(artist, COIN);
        licensing.withdraw(mixer, COIN);
        licensing.withdraw(dao, COIN);
        assertEq(address(licensing).balance, 4 ether);
    }

    function test_aLedgerHasADaoAndARegistry() public {
        assertEq(licensing.dao(), dao);
        assertEq(address(licensing.registry()), address(registry));
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.NotAllowed.selector, address(0)));
        new MusicLicensing(registry, address(0));
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        new MusicLicensing(TrackRegistry(artist), dao);
    }
}
