// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Fixture} from "./Fixture.sol";
import {TestToken} from "./tokens/TestToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {TextIds} from "../src/lib/TextIds.sol";

/// @notice Terms, purchases, renewals, refunds, and the names of the original specification.
contract LicensingTest is Fixture {
    address private constant COIN = address(0);
    uint64 private constant NEVER = type(uint64).max;

    bytes32 private release;
    bytes32 private id;
    uint16 private month;
    uint16 private ever;
    uint16 private dollarMonth;
    uint16 private download;

    function setUp() public override {
        super.setUp();
        release = registerTrack(artist, 1);
        vm.startPrank(artist);
        id = registry.register(_trackOf(release, 2));
        month = licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        ever = licensing.addTerm(id, 10 ether, 0, 0, 1);
        dollarMonth = licensing.addTerm(id, 5e6, 30 days, dollarIndex, 1);
        download = licensing.addTerm(id, 20 ether, 0, 0, 2);
        vm.stopPrank();
    }

    function _trackOf(bytes32 releaseId, uint256 salt) private view returns (TrackRegistry.Registration memory made) {
        made = registration(salt, splitsOf(artist, 9_000, mixer));
        made.releaseId = releaseId;
    }

    function dollarsFor(address who, uint256 amount) private {
        dollars.mint(who, amount);
        vm.prank(who);
        dollars.approve(address(licensing), amount);
    }

    function unknownTerm(bytes32 which, uint256 termId) private {
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, which, termId));
    }

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
        licensing.purchaseWithPermit(
            MusicLicensing.Order(id, dollarMonth, 1, payer, 5e6), block.timestamp, v, r, s
        );
        assertTrue(licensing.isLicensed(id, payer, 1));
    }

    function test_anothersPermitPaysForNothing() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        dollars.mint(payer, 5e6);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(key, payer, 5e6, block.timestamp);
        vm.expectRevert();
        vm.prank(singer);
        licensing.purchaseWithPermit(
            MusicLicensing.Order(id, dollarMonth, 1, singer, 5e6), block.timestamp, v, r, s
        );
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
        vm.deal(listener, 2 ether);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1 ether, 2 ether));
        licensing.purchaseMany{value: 1 ether}(orders);
        bytes32[] memory made = licensing.purchaseMany{value: 2 ether}(orders);
        assertEq(licensing.expiresAt(made[1]), block.timestamp + 60 days);
    }

    function test_anOrderListHasBounds() public {
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchaseMany(new MusicLicensing.Order[](0));
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchaseMany(new MusicLicensing.Order[](65));
    }

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

    // The names of the original specification

    function textOf(bytes32 which, string memory prefix) private pure returns (string memory text) {
        return string.concat(prefix, string(TextIds.base32(abi.encodePacked(which))));
    }

    function test_aLicenseIsCreatedByItsOldName() public {
        string memory text = textOf(id, "tr_");
        bytes32 expected = licensing.licenceIdOf(id, month, listener);
        vm.deal(listener, 3 ether);
        vm.expectEmit(address(licensing));
        emit MusicLicensing.LicenseCreated(expected, text, listener);
        vm.expectEmit(address(licensing));
        emit MusicLicensing.LicenseActivated(expected);
        vm.prank(listener);
        assertEq(licensing.createLicense{value: 3 ether}(text, 90 days), expected);
        (string memory trackId, address who, uint256 price, uint256 duration, bool isActive, uint256 createdAt) =
            licensing.licenses(expected);
        assertEq(trackId, text);
        assertEq(who, listener);
        assertEq(price, 3 ether);
        assertEq(duration, 90 days);
        assertTrue(isActive);
        assertEq(createdAt, block.timestamp);
        skip(90 days);
        (,,,, isActive,) = licensing.licenses(expected);
        assertFalse(isActive);
    }

    function test_aLicenseWithoutEndIsCreatedByItsOldName() public {
        vm.deal(listener, 10 ether);
        vm.prank(listener);
        bytes32 made = licensing.createLicense{value: 10 ether}(textOf(id, "tr_"), 0);
        (,, uint256 price, uint256 duration, bool isActive,) = licensing.licenses(made);
        assertEq(made, licensing.licenceIdOf(id, ever, listener));
        assertEq(price, 10 ether);
        assertEq(duration, type(uint256).max);
        assertTrue(isActive);
    }

    function test_theOldNameFindsTheFirstTermThatFits() public {
        string memory text = textOf(id, "rl_");
        vm.startPrank(artist);
        uint16 day = licensing.addTerm(id, 0.1 ether, 1 days, 0, 1);
        vm.stopPrank();
        vm.deal(listener, 20 ether);
        vm.startPrank(listener);
        bytes32 made = licensing.createLicense{value: 3.1 ether}(text, 31 days);
        assertEq(made, licensing.licenceIdOf(id, day, listener));
        unknownTerm(id, 0);
        licensing.createLicense{value: 1 ether}(text, 1 hours);
        unknownTerm(id, 0);
        licensing.createLicense{value: 1 ether}(text, 1_201 days + 1_200 * 30 days);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.PriceAboveMaximum.selector, 1 ether, 0.5 ether));
        licensing.createLicense{value: 0.5 ether}(text, 30 days);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 2 ether, 1 ether));
        licensing.createLicense{value: 2 ether}(text, 30 days);
    }

    function test_theOldNameSkipsTermsThatAreNotSold() public {
        vm.startPrank(artist);
        licensing.setTermEnabled(id, month, false);
        licensing.setTermEnabled(id, ever, false);
        vm.stopPrank();
        string memory text = textOf(id, "tr_");
        unknownTerm(id, 0);
        licensing.createLicense(text, 30 days);
        unknownTerm(id, 0);
        licensing.createLicense(text, 0);
        unknownTerm(id, 0);
        licensing.trackPrices(text);
    }

    function test_aPriceIsReadByItsOldName() public {
        assertEq(licensing.trackPrices(textOf(id, "tr_")), 1 ether);
        vm.prank(artist);
        licensing.setTermEnabled(id, month, false);
        assertEq(licensing.trackPrices(textOf(id, "tr_")), 10 ether);
        unknownTerm(release, 0);
        licensing.trackPrices(textOf(release, "rl_"));
    }

    function test_aLicenseThatIsNotThereIsNotRead() public {
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NoLicence.selector, bytes32(uint256(1))));
        licensing.licenses(bytes32(uint256(1)));
    }

    // Texts of ids

    function test_aTextIsReadBack(bytes32 any) public {
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, any, 0));
        licensing.trackPrices(textOf(any, "tr_"));
    }

    function test_textsFollowRfc4648() public pure {
        assertEq(string(TextIds.base32("")), "");
        assertEq(string(TextIds.base32("f")), "my");
        assertEq(string(TextIds.base32("fooba")), "mzxw6ytb");
        assertEq(string(TextIds.base32("foobar")), "mzxw6ytboi");
        assertEq(
            TextIds.format(hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
            "tr_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"
        );
    }

    function badText(string memory text) private {
        vm.expectRevert(TextIds.InvalidTextId.selector);
        licensing.trackPrices(text);
    }

    function test_aTextHasOneForm() public {
        badText("");
        badText("tr_");
        badText("aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("tr_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp");
        badText("tr_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypqa");
        badText("tr-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("tl_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("rr_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("xx_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("tr_Aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("tr_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp1");
        badText("tr_8aaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("tr_{aaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        badText("tr_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypr");
    }
}
