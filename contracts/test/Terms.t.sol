// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {LicensingFixture} from "./LicensingFixture.sol";

/// @notice Terms of artists, and what the DAO decides about all sales.
contract TermsTest is LicensingFixture {
    // Terms

    function test_anOwnerAddsTerms() public {
        vm.expectEmit(address(licensing));
        emit MusicLicensing.TermAdded(id, 4, 3 ether, 7 days, 0, 9);
        vm.prank(artist);
        assertEq(licensing.addTerm(id, 3 ether, 7 days, 0, 9), 4);
        MusicLicensing.Term memory made = licensing.term(id, 4);
        assertEq(made.price, 3 ether);
        assertEq(made.periodSeconds, 7 days);
        assertEq(made.token, 0);
        assertEq(made.kind, 9);
        assertTrue(made.enabled);
        assertEq(licensing.termCount(id), 5);
    }

    function test_severalTermsAreAddedAtOnce() public {
        MusicLicensing.TermInput[] memory inputs = new MusicLicensing.TermInput[](2);
        inputs[0] = MusicLicensing.TermInput(1, 2, 0, 1);
        inputs[1] = MusicLicensing.TermInput(3, 0, dollarIndex, 2);
        vm.prank(artist);
        assertEq(licensing.addTerms(id, inputs), 4);
        assertEq(licensing.term(id, 5).price, 3);
        assertEq(licensing.term(id, 5).token, dollarIndex);
    }

    function test_aTermIsOutOfBounds() public {
        vm.startPrank(artist);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.addTerm(id, 1, 1, 0, 0);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.addTerm(id, 1, type(uint32).max, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, 77));
        licensing.addTerm(id, 1, 1, 77, 1);
    }

    function test_anIdHasAtMost256Terms() public {
        MusicLicensing.TermInput[] memory inputs = new MusicLicensing.TermInput[](252);
        for (uint256 i; i < inputs.length; ++i) {
            inputs[i] = MusicLicensing.TermInput(1, 1, 0, 1);
        }
        vm.startPrank(artist);
        licensing.addTerms(id, inputs);
        assertEq(licensing.termCount(id), 256);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.addTerm(id, 1, 1, 0, 1);
        vm.stopPrank();
        bytes32 last = buy(id, 255, 1, listener, listener);
        (bytes32 found,,) = licensing.licenceOf(id, listener, 1);
        assertEq(found, last);
    }

    function test_strangersSetNoTerms() public {
        address[3] memory strangers = [listener, mixer, dao];
        for (uint256 i; i < strangers.length; ++i) {
            bytes memory reason = abi.encodeWithSelector(SplitLedger.NotAllowed.selector, strangers[i]);
            vm.startPrank(strangers[i]);
            vm.expectRevert(reason);
            licensing.addTerm(id, 0, 0, 0, 1);
            vm.expectRevert(reason);
            licensing.addTerms(id, new MusicLicensing.TermInput[](1));
            vm.expectRevert(reason);
            licensing.setTermEnabled(id, 0, false);
            vm.stopPrank();
        }
        bytes32 unknown = bytes32(uint256(5));
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, uint256(unknown)));
        licensing.addTerm(unknown, 0, 0, 0, 1);
    }

    function test_aTermIsDisabledAndEnabled() public {
        vm.expectEmit(address(licensing));
        emit MusicLicensing.TermEnabled(id, month, false);
        vm.prank(artist);
        licensing.setTermEnabled(id, month, false);
        vm.deal(listener, 1 ether);
        unknownTerm(id, month);
        vm.prank(listener);
        licensing.purchase{value: 1 ether}(id, month, 1, listener, 1 ether);
        vm.prank(artist);
        licensing.setTermEnabled(id, month, true);
        buy(id, month, 1, listener, listener);
        unknownTerm(id, 4);
        vm.prank(artist);
        licensing.setTermEnabled(id, 4, true);
        unknownTerm(id, 4);
        licensing.term(id, 4);
    }

    // The DAO

    function test_theDaoSetsTheFeeOfLaterSales() public {
        buy(id, month, 1, listener, listener);
        vm.expectEmit(address(licensing));
        emit MusicLicensing.FeeChanged(1_000);
        vm.prank(dao);
        licensing.setFee(1_000);
        buy(id, month, 1, listener, listener);
        (, uint128 fee) = licensing.accrual(id, registry.splitsHashOf(id), COIN);
        assertEq(fee, 0.025 ether + 0.1 ether);
    }

    function test_theFeeIsAtMostATenth(uint16 bps) public {
        bps = uint16(bound(bps, 1_001, type(uint16).max));
        assertEq(licensing.feeBps(), 250);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        vm.prank(dao);
        licensing.setFee(bps);
    }

    function test_onlyTheDaoGoverns() public {
        bytes memory reason = abi.encodeWithSelector(SplitLedger.NotAllowed.selector, artist);
        vm.startPrank(artist);
        vm.expectRevert(reason);
        licensing.setFee(0);
        vm.expectRevert(reason);
        licensing.setPauser(artist);
        vm.expectRevert(reason);
        licensing.pause();
        vm.expectRevert(reason);
        licensing.unpause();
    }

    function test_aPauseStopsPurchasesAndEndsByItself() public {
        vm.expectEmit(address(licensing));
        emit MusicLicensing.PauserChanged(singer);
        vm.prank(dao);
        licensing.setPauser(singer);
        assertEq(licensing.pauser(), singer);
        uint256 until = block.timestamp + 7 days;
        vm.expectEmit(address(licensing));
        emit MusicLicensing.PausedUntil(uint40(until));
        vm.prank(singer);
        licensing.pause();
        assertEq(licensing.pausedUntil(), until);
        vm.warp(until - 1);
        vm.deal(listener, 2 ether);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.Paused.selector, until));
        licensing.purchase{value: 1 ether}(id, month, 1, listener, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.Paused.selector, until));
        licensing.deposit{value: 1}(id, 0, 1);
        vm.warp(until);
        licensing.purchase{value: 1 ether}(id, month, 1, listener, 1 ether);
    }

    function test_aPauseEndsEarly() public {
        vm.startPrank(dao);
        licensing.pause();
        vm.expectEmit(address(licensing));
        emit MusicLicensing.PausedUntil(0);
        licensing.unpause();
        vm.stopPrank();
        buy(id, month, 1, listener, listener);
    }

    function test_aPauseStopsNoMoneyOnItsWayOut() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        vm.prank(dao);
        licensing.pause();
        licensing.settle(id, splitsOf(artist, 9_000, mixer), COIN);
        assertEq(licensing.withdraw(artist, COIN), 0.8775 ether);
        assertTrue(licensing.tierOpen(id, listener, 1));
        vm.deal(artist, 1 ether);
        vm.prank(artist);
        licensing.revokeWithRefund{value: 1 ether}(made);
        assertEq(licensing.withdraw(listener, COIN), 1 ether);
        vm.deal(listener, 1 ether);
        vm.prank(listener);
        licensing.tip{value: 1 ether}(id, 0, 1 ether);
    }
}
