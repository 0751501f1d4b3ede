// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {LicensingFixture} from "./LicensingFixture.sol";

/// @notice Purchases, gifts and renewals, in the native coin and in tokens, with permits and several at once.
contract PurchasesTest is LicensingFixture {
    // Purchases

    function test_aPurchaseMakesALicence() public {
        vm.deal(listener, 2 ether);
        bytes32 expected = keccak256(abi.encode(id, month, listener));
        uint64 end = uint64(block.timestamp + 60 days);
        vm.expectEmit(address(licensing));
        emit MusicLicensing.LicencePurchased(
            expected, id, listener, listener, month, 2, 2 ether, registry.splitsHashOf(id), end
        );
        vm.prank(listener);
        assertEq(licensing.purchase{value: 2 ether}(id, month, 2, listener, 2 ether), expected);
        assertEq(licensing.expiresAt(expected), end);
        MusicLicensing.Licence memory stored = licensing.licence(expected);
        assertEq(stored.id, id);
        assertEq(stored.licensee, listener);
        assertEq(stored.startedAt, block.timestamp);
        assertEq(stored.duration, 60 days);
        assertEq(stored.termId, month);
        assertEq(stored.token, 0);
        (uint128 gross, uint128 fee) = licensing.accrual(id, registry.splitsHashOf(id), COIN);
        assertEq(gross, 2 ether);
        assertEq(fee, 0.05 ether);
    }

    function test_twoPurchasesInOneBlockAreTwoLicences() public {
        bytes32 one = buy(id, month, 1, listener, listener);
        bytes32 two = buy(id, month, 1, singer, singer);
        bytes32 three = buy(id, ever, 1, listener, listener);
        assertNotEq(one, two);
        assertNotEq(one, three);
        assertEq(licensing.licence(one).licensee, listener);
        assertEq(licensing.licence(two).licensee, singer);
        assertEq(licensing.expiresAt(one), block.timestamp + 30 days);
        assertEq(licensing.expiresAt(two), block.timestamp + 30 days);
        assertEq(licensing.expiresAt(three), NEVER);
    }

    function test_aGiftIsTheOthers() public {
        bytes32 made = buy(id, month, 1, listener, singer);
        assertEq(licensing.licence(made).licensee, singer);
        assertTrue(licensing.isLicensed(id, singer, 1));
        assertFalse(licensing.isLicensed(id, listener, 1));
    }

    function test_aLicenceEndsToTheSecond() public {
        bytes32 made = buy(id, month, 1, listener, listener);
        uint256 end = licensing.expiresAt(made);
        vm.warp(end - 1);
        assertTrue(licensing.isLicensed(id, listener, 1));
        assertTrue(licensing.tierOpen(id, listener, 1));
        vm.warp(end);
        assertFalse(licensing.isLicensed(id, listener, 1));
        assertFalse(licensing.tierOpen(id, listener, 1));
        (bytes32 found, uint64 from, uint64 to) = licensing.licenceOf(id, listener, 1);
        assertEq(found, 0);
        assertEq(from, 0);
        assertEq(to, 0);
        assertEq(licensing.expiresAt(made), end);
    }

    function test_aLiveLicenceIsExtended(uint32 wait) public {
        bytes32 made = buy(id, month, 1, listener, listener);
        uint256 started = block.timestamp;
        skip(bound(wait, 0, 30 days - 1));
        assertEq(buy(id, month, 2, singer, listener), made);
        assertEq(licensing.expiresAt(made), started + 90 days);
        assertEq(licensing.licence(made).startedAt, started);
    }

    function test_anEndedLicenceStartsAfresh(uint32 wait) public {
        bytes32 made = buy(id, month, 3, listener, listener);
        skip(bound(wait, 90 days, type(uint32).max));
        assertEq(buy(id, month, 1, listener, listener), made);
        assertEq(licensing.expiresAt(made), block.timestamp + 30 days);
        assertEq(licensing.licence(made).startedAt, block.timestamp);
    }

    function test_aLicenceWithoutEndIsBoughtOnce() public {
        bytes32 made = buy(id, ever, 1, listener, listener);
        assertEq(licensing.expiresAt(made), NEVER);
        vm.warp(block.timestamp + 100 * 365 days);
        assertTrue(licensing.isLicensed(id, listener, 1));
        vm.deal(listener, 20 ether);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.AlreadyLicensed.selector, made));
        licensing.purchase{value: 10 ether}(id, ever, 1, listener, 10 ether);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchase{value: 20 ether}(id, ever, 2, listener, 20 ether);
    }

    function test_theNativePriceIsExact(uint96 sent, uint16 periods) public {
        periods = uint16(bound(periods, 1, 1_200));
        uint256 price = uint256(periods) * 1 ether;
        vm.assume(sent != price);
        vm.deal(listener, sent);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, sent, price));
        vm.prank(listener);
        licensing.purchase{value: sent}(id, month, periods, listener, type(uint256).max);
    }

    function test_aPriceIsAtMostWhatWasAgreedTo() public {
        vm.deal(listener, 2 ether);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.PriceAboveMaximum.selector, 2 ether, 2 ether - 1));
        vm.prank(listener);
        licensing.purchase{value: 2 ether}(id, month, 2, listener, 2 ether - 1);
    }

    function test_aTermNeverChangesSoARepriceSurprisesNobody() public {
        MusicLicensing.Term memory before = licensing.term(id, month);
        vm.startPrank(artist);
        uint16 dearer = licensing.addTerm(id, 100 ether, 30 days, 0, 1);
        licensing.setTermEnabled(id, month, false);
        licensing.setTermEnabled(id, month, true);
        vm.stopPrank();
        assertEq(keccak256(abi.encode(licensing.term(id, month))), keccak256(abi.encode(before)));
        bytes32 old = buy(id, month, 1, listener, listener);
        bytes32 fresh = buy(id, dearer, 1, listener, listener);
        assertNotEq(old, fresh);
    }

    function test_periodsHaveBounds() public {
        vm.deal(listener, 2_000 ether);
        vm.startPrank(listener);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchase(id, month, 0, listener, 0);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchase{value: 1_201 ether}(id, month, 1_201, listener, 1_201 ether);
        licensing.purchase{value: 1_200 ether}(id, month, 1_200, listener, 1_200 ether);
        assertEq(licensing.expiresAt(licensing.licenceIdOf(id, month, listener)), block.timestamp + 36_000 days);
    }

    function test_aDurationThatDoesNotFitIsRefused() public {
        vm.prank(artist);
        uint16 century = licensing.addTerm(id, 1, 36_500 days, 0, 1);
        buy(id, century, 1, listener, listener);
        vm.deal(listener, 1);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        vm.prank(listener);
        licensing.purchase{value: 1}(id, century, 1, listener, 1);
    }

    /// @notice 255 periods of this term are as many seconds as stand for a licence without end: one too many.
    function test_noDurationIsMistakenForALicenceWithoutEnd() public {
        vm.prank(artist);
        uint16 odd = licensing.addTerm(id, 1, 16_843_009, 0, 1);
        vm.deal(listener, 255);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        vm.prank(listener);
        licensing.purchase{value: 255}(id, odd, 255, listener, 255);
        bytes32 made = buy(id, odd, 254, listener, listener);
        assertEq(licensing.expiresAt(made), block.timestamp + 254 * 16_843_009);
    }

    function test_aLicenceIsSomebodys() public {
        vm.deal(listener, 1 ether);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        vm.prank(listener);
        licensing.purchase{value: 1 ether}(id, month, 1, address(0), 1 ether);
    }

    function test_whatHasNoTermIsNotSold() public {
        unknownTerm(id, 4);
        licensing.purchase(id, 4, 1, listener, 0);
        unknownTerm(release, 0);
        licensing.purchase(release, 0, 1, listener, 0);
        unknownTerm(bytes32(uint256(3)), 0);
        licensing.purchase(bytes32(uint256(3)), 0, 1, listener, 0);
    }

    function test_whatIsStoppedOrBlockedIsNotSoldAndOldLicencesStay() public {
        buy(id, month, 1, listener, listener);
        vm.prank(artist);
        registry.setActive(id, false);
        vm.deal(singer, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NotForSale.selector, id));
        vm.prank(singer);
        licensing.purchase{value: 1 ether}(id, month, 1, singer, 1 ether);
        assertTrue(licensing.isLicensed(id, listener, 1));
        vm.prank(artist);
        registry.setActive(id, true);
        vm.prank(dao);
        registry.setBlocked(id, true);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NotForSale.selector, id));
        vm.prank(singer);
        licensing.purchase{value: 1 ether}(id, month, 1, singer, 1 ether);
        assertTrue(licensing.isLicensed(id, listener, 1));
    }

    function test_aFreeTermIsFree() public {
        vm.prank(artist);
        uint16 free = licensing.addTerm(id, 0, 1 days, dollarIndex, 1);
        vm.prank(listener);
        licensing.purchase(id, free, 3, listener, 0);
        assertTrue(licensing.isLicensed(id, listener, 1));
    }

    function test_aPurchaseInATokenTakesExactlyThePrice() public {
        dollarsFor(listener, 100e6);
        vm.prank(listener);
        licensing.purchase(id, dollarMonth, 2, listener, 10e6);
        assertEq(dollars.balanceOf(listener), 90e6);
        assertEq(dollars.balanceOf(address(licensing)), 10e6);
        vm.deal(listener, 1);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1, 0));
        vm.prank(listener);
        licensing.purchase{value: 1}(id, dollarMonth, 1, listener, 5e6);
    }

    function test_aTokenThatIsOutIsNotTaken() public {
        dollarsFor(listener, 100e6);
        vm.prank(dao);
        licensing.setToken(address(dollars), false);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, dollarIndex));
        vm.prank(listener);
        licensing.purchase(id, dollarMonth, 1, listener, 5e6);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, dollarIndex));
        vm.prank(artist);
        licensing.addTerm(id, 1, 1, dollarIndex, 1);
    }

    // Permits

    function test_aSignedAllowanceBuysInOneTransaction() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        dollars.mint(payer, 10e6);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(key, payer, 10e6, block.timestamp);
        vm.prank(payer);
        bytes32 made = licensing.purchaseWithPermit(
            MusicLicensing.Order(id, dollarMonth, 2, singer, 10e6), block.timestamp, v, r, s
        );
        assertEq(licensing.licence(made).licensee, singer);
        assertEq(licensing.licence(made).token, dollarIndex);
        assertEq(dollars.balanceOf(payer), 0);
        assertEq(dollars.allowance(payer, address(licensing)), 0);
    }

    function test_aPermitThatSomebodySentAheadHarmsNobody() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        dollars.mint(payer, 5e6);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(key, payer, 5e6, block.timestamp);
        vm.prank(singer);
        dollars.permit(payer, address(licensing), 5e6, block.timestamp, v, r, s);
        vm.prank(payer);
        licensing.purchaseWithPermit(MusicLicensing.Order(id, dollarMonth, 1, payer, 5e6), block.timestamp, v, r, s);
        assertTrue(licensing.isLicensed(id, payer, 1));
    }

    function test_anothersPermitPaysForNothing() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        dollars.mint(payer, 5e6);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(key, payer, 5e6, block.timestamp);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(licensing), 0, 5e6)
        );
        vm.prank(singer);
        licensing.purchaseWithPermit(MusicLicensing.Order(id, dollarMonth, 1, singer, 5e6), block.timestamp, v, r, s);
        assertEq(dollars.balanceOf(payer), 5e6);
    }

    function test_aPermitBuysNothingInTheNativeCoin() public {
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, 0));
        licensing.purchaseWithPermit(MusicLicensing.Order(id, month, 1, listener, 1 ether), 0, 0, 0, 0);
    }

    // Several at once

    function test_severalLicencesAreBoughtWithOnePayment() public {
        MusicLicensing.Order[] memory orders = new MusicLicensing.Order[](3);
        orders[0] = MusicLicensing.Order(id, month, 2, listener, 2 ether);
        orders[1] = MusicLicensing.Order(id, dollarMonth, 1, listener, 5e6);
        orders[2] = MusicLicensing.Order(id, ever, 1, singer, 10 ether);
        dollarsFor(listener, 5e6);
        vm.deal(listener, 12 ether);
        vm.prank(listener);
        bytes32[] memory made = licensing.purchaseMany{value: 12 ether}(orders);
        assertEq(licensing.expiresAt(made[0]), block.timestamp + 60 days);
        assertEq(licensing.expiresAt(made[1]), block.timestamp + 30 days);
        assertEq(licensing.expiresAt(made[2]), NEVER);
        assertEq(address(licensing).balance, 12 ether);
        assertEq(dollars.balanceOf(address(licensing)), 5e6);
    }

    function test_severalLicencesCostTheirSum() public {
        MusicLicensing.Order[] memory orders = new MusicLicensing.Order[](2);
        orders[0] = MusicLicensing.Order(id, month, 1, listener, 1 ether);
        orders[1] = MusicLicensing.Order(id, month, 1, listener, 1 ether);
        vm.deal(listener, 3 ether);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1 ether, 2 ether));
        licensing.purchaseMany{value: 1 ether}(orders);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 3 ether, 2 ether));
        licensing.purchaseMany{value: 3 ether}(orders);
        bytes32[] memory made = licensing.purchaseMany{value: 2 ether}(orders);
        assertEq(licensing.expiresAt(made[1]), block.timestamp + 60 days);
    }

    function test_anOrderListHasBounds() public {
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchaseMany(new MusicLicensing.Order[](0));
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchaseMany(new MusicLicensing.Order[](65));
    }
}
