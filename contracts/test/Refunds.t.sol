// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "./tokens/TestToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {LicensingFixture} from "./LicensingFixture.sol";

/// @notice What an owner pays back, and which tiers are open to whom.
contract RefundsTest is LicensingFixture {
    // Refunds

    function test_aRefundIsForWhatIsNotUsed(uint16 periods, uint32 wait) public {
        periods = uint16(bound(periods, 1, 1_200));
        bytes32 made = buy(id, month, periods, listener, listener);
        uint256 duration = uint256(periods) * 30 days;
        uint256 used = bound(wait, 0, duration - 1);
        skip(used);
        uint256 paid = uint256(periods) * 1 ether;
        (uint256 refund, address token) = licensing.refundOf(made);
        assertEq(token, COIN);
        assertGe(refund * duration, paid * (duration - used), "less than what is not used");
        assertLt((refund - 1) * duration, paid * (duration - used), "a unit too much");
        vm.deal(artist, paid);
        vm.expectEmit(address(licensing));
        emit MusicLicensing.LicenceRevoked(made, listener, COIN, refund);
        vm.prank(artist);
        assertEq(licensing.revokeWithRefund{value: refund}(made), refund);
        assertEq(licensing.owed(listener, COIN), refund);
        assertFalse(licensing.isLicensed(id, listener, 1));
        licensing.withdraw(listener, COIN);
        assertEq(listener.balance, refund);
    }

    function test_aSurplusOfTheRefundStaysTheOwners() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        (uint256 seen,) = licensing.refundOf(made);
        skip(12);
        (uint256 refund,) = licensing.refundOf(made);
        assertLt(refund, seen);
        vm.deal(artist, seen);
        vm.prank(artist);
        licensing.revokeWithRefund{value: seen}(made);
        assertEq(licensing.owed(listener, COIN), refund);
        assertEq(licensing.owed(artist, COIN), seen - refund);
    }

    function test_aRefundThatIsTooSmallIsRefused() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        vm.deal(artist, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1 ether - 1, 1 ether));
        vm.prank(artist);
        licensing.revokeWithRefund{value: 1 ether - 1}(made);
    }

    function test_aLicenceWithoutEndIsPaidBackWhole() public {
        bytes32 made = buy(id, ever, 1, listener, listener);
        skip(3_650 days);
        vm.deal(artist, 10 ether);
        vm.prank(artist);
        assertEq(licensing.revokeWithRefund{value: 10 ether}(made), 10 ether);
        assertEq(licensing.owed(listener, COIN), 10 ether);
    }

    function test_anExtendedLicenceIsPaidBackOverItsWholeTime() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        skip(15 days);
        buy(id, month, 3, listener, listener);
        (uint256 refund,) = licensing.refundOf(made);
        assertEq(refund, 3.5 ether);
    }

    /// @notice The seed of the known exploit: sell for good money, re-price in bad money, pay back in bad money.
    function test_aRefundIsInTheTokenThatWasPaid() public {
        dollarsFor(listener, 5e6);
        vm.prank(listener);
        bytes32 made = licensing.purchase(id, dollarMonth, 1, listener, 5e6);
        TestToken worthless = new TestToken();
        vm.startPrank(dao);
        uint8 worthlessIndex = licensing.setToken(address(worthless), true);
        licensing.setToken(address(dollars), false);
        vm.stopPrank();
        vm.startPrank(artist);
        licensing.setTermEnabled(id, dollarMonth, false);
        licensing.addTerm(id, 1, 30 days, worthlessIndex, 1);
        worthless.mint(artist, 5e6);
        worthless.approve(address(licensing), 5e6);
        vm.deal(artist, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1, 0));
        licensing.revokeWithRefund{value: 1}(made);
        vm.stopPrank();
        dollarsFor(artist, 5e6);
        vm.prank(artist);
        licensing.revokeWithRefund(made);
        assertEq(licensing.owed(listener, address(dollars)), 5e6);
        assertEq(licensing.owed(listener, COIN), 0);
        assertEq(licensing.owed(listener, address(worthless)), 0);
        assertEq(worthless.balanceOf(artist), 5e6);
        assertEq(dollars.balanceOf(artist), 0);
        licensing.withdraw(listener, address(dollars));
        assertEq(dollars.balanceOf(listener), 5e6);
    }

    function test_aRevokedLicenceIsBoughtAgain() public {
        bytes32 made = buy(id, ever, 1, listener, listener);
        vm.deal(artist, 10 ether);
        vm.startPrank(artist);
        licensing.revokeWithRefund{value: 10 ether}(made);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NoLicence.selector, made));
        licensing.revokeWithRefund(made);
        vm.stopPrank();
        assertEq(licensing.expiresAt(made), 0);
        assertEq(buy(id, ever, 1, listener, listener), made);
        assertTrue(licensing.isLicensed(id, listener, 1));
    }

    function test_onlyTheOwnerRevokes() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        address[3] memory strangers = [listener, mixer, dao];
        for (uint256 i; i < strangers.length; ++i) {
            vm.deal(strangers[i], 1 ether);
            vm.expectRevert(abi.encodeWithSelector(SplitLedger.NotAllowed.selector, strangers[i]));
            vm.prank(strangers[i]);
            licensing.revokeWithRefund{value: 1 ether}(made);
        }
    }

    function test_anEndedLicenceIsNotRevoked() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        skip(30 days);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NoLicence.selector, made));
        licensing.refundOf(made);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NoLicence.selector, made));
        vm.prank(artist);
        licensing.revokeWithRefund(made);
    }

    function test_aFreeLicenceIsRevokedForNothing() public {
        vm.prank(artist);
        uint16 free = licensing.addTerm(id, 0, 1 days, 0, 1);
        bytes32 made = licensing.purchase(id, free, 1, listener, 0);
        vm.prank(artist);
        assertEq(licensing.revokeWithRefund(made), 0);
        assertFalse(licensing.isLicensed(id, listener, 1));
    }

    // What is open

    function test_kindsOpenTiers() public {
        assertTrue(licensing.tierOpen(id, listener, 0));
        assertFalse(licensing.tierOpen(id, listener, 1));
        buy(id, month, 1, listener, listener);
        assertTrue(licensing.tierOpen(id, listener, 1));
        assertFalse(licensing.tierOpen(id, listener, 2));
        buy(id, download, 1, singer, singer);
        assertTrue(licensing.tierOpen(id, singer, 1));
        assertTrue(licensing.tierOpen(id, singer, 2));
        assertFalse(licensing.tierOpen(id, singer, 3));
        assertFalse(licensing.isLicensed(id, singer, 1));
        assertTrue(licensing.isLicensed(id, singer, 2));
    }

    function test_otherKindsOpenNothing(uint8 kind) public {
        kind = uint8(bound(kind, 3, 255));
        vm.prank(artist);
        uint16 sync = licensing.addTerm(id, 1, 0, 0, kind);
        buy(id, sync, 1, listener, listener);
        assertTrue(licensing.isLicensed(id, listener, kind));
        assertFalse(licensing.tierOpen(id, listener, 1));
        assertFalse(licensing.tierOpen(id, listener, 2));
    }

    function test_aLicenceOfTheReleaseOpensItsTracks() public {
        vm.prank(artist);
        uint16 album = licensing.addTerm(release, 30 ether, 0, 0, 2);
        bytes32 made = buy(release, album, 1, listener, listener);
        assertTrue(licensing.isLicensed(id, listener, 2));
        assertTrue(licensing.tierOpen(id, listener, 1));
        assertTrue(licensing.tierOpen(id, listener, 2));
        (bytes32 found,, uint64 to) = licensing.licenceOf(id, listener, 2);
        assertEq(found, made);
        assertEq(to, NEVER);
        buy(id, month, 1, singer, singer);
        assertFalse(licensing.tierOpen(release, singer, 1));
    }

    function test_theBestLicenceIsTheOneThatEndsLast() public {
        vm.prank(artist);
        uint16 week = licensing.addTerm(id, 1, 7 days, 0, 1);
        bytes32 short = buy(id, week, 1, listener, listener);
        (bytes32 found,, uint64 to) = licensing.licenceOf(id, listener, 1);
        assertEq(found, short);
        assertEq(to, block.timestamp + 7 days);
        uint256 started = block.timestamp;
        skip(1 days);
        bytes32 long = buy(id, month, 1, listener, listener);
        uint64 from;
        (found, from, to) = licensing.licenceOf(id, listener, 1);
        assertEq(found, long);
        assertEq(from, started + 1 days);
        assertEq(to, started + 31 days);
        bytes32 best = buy(id, download, 1, listener, listener);
        (found,, to) = licensing.licenceOf(id, listener, 1);
        assertEq(found, best);
        assertEq(to, NEVER);
    }

    function test_aLicenceUnderATermThatIsNotSoldAnyMoreOpensStill() public {
        buy(id, month, 1, listener, listener);
        vm.prank(artist);
        licensing.setTermEnabled(id, month, false);
        assertTrue(licensing.tierOpen(id, listener, 1));
    }
}
