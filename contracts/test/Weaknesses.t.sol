// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors, IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Fixture} from "./Fixture.sol";
import {MarinaToken} from "../src/MarinaToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {TestToken} from "./tokens/TestToken.sol";

/// @notice The weak points of the first draft of these contracts, one test each: none of them may come back.
contract WeaknessesTest is Fixture {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
        vm.startPrank(artist);
        licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        licensing.addTerm(id, 5e6, 30 days, dollarIndex, 1);
        licensing.addTerm(id, 9 ether, 0, 0, 2);
        vm.stopPrank();
    }

    /// @notice The draft made ids of block.timestamp: the second purchase in a block overwrote the first.
    function test_twoPurchasesInABlockAreTwoLicences() public {
        bytes32 first = buy(id, 0, 1, listener, listener);
        bytes32 second = buy(id, 0, 1, mixer, mixer);
        bytes32 other = buy(id, 2, 1, listener, listener);
        assertEq(first, keccak256(abi.encode(id, uint16(0), listener)));
        assertNotEq(first, second);
        assertNotEq(first, other);
        buy(id, 0, 1, listener, listener);
        assertEq(licensing.licence(first).licensee, listener);
        assertEq(licensing.licence(second).licensee, mixer);
        assertEq(licensing.expiresAt(first), block.timestamp + 60 days, "the same buyer's two periods add up");
        assertEq(licensing.expiresAt(second), block.timestamp + 30 days);
    }

    /// @notice The draft stored an end and never looked at it.
    function test_aLicenceIsGoodUntilItsLastSecond() public {
        bytes32 licenceId = buy(id, 0, 1, listener, listener);
        uint256 end = licensing.expiresAt(licenceId);
        vm.warp(end - 1);
        assertTrue(licensing.isLicensed(id, listener, 1));
        assertTrue(licensing.tierOpen(id, listener, 1));
        vm.warp(end);
        assertFalse(licensing.isLicensed(id, listener, 1));
        assertFalse(licensing.tierOpen(id, listener, 1));
        (bytes32 found,,) = licensing.licenceOf(id, listener, 1);
        assertEq(found, 0);
    }

    /// @notice The draft kept every payment for ever.
    function test_whatWasPaidIsWithdrawnToTheLastUnit(uint8 months, uint16 share) public {
        months = uint8(bound(months, 1, 100));
        share = uint16(bound(share, 1, 9_999));
        vm.prank(artist);
        registry.setSplits(id, splitsOf(artist, share, mixer));
        buy(id, 0, months, listener, listener);
        licensing.settle(id, splitsOf(artist, share, mixer), address(0));
        uint256 paid = licensing.withdraw(artist, address(0)) + licensing.withdraw(mixer, address(0))
            + licensing.withdraw(dao, address(0));
        assertEq(paid, uint256(months) * 1 ether);
        assertEq(address(licensing).balance, 0);
    }

    /// @notice The draft had no share for the artist.
    function test_collaboratorsGetExactlyTheirShares(uint96 price) public {
        price = uint96(bound(price, 1, 1e24));
        vm.startPrank(artist);
        registry.setSplits(id, threeSplits());
        uint16 termId = licensing.addTerm(id, price, 30 days, 0, 1);
        vm.stopPrank();
        buy(id, termId, 1, listener, listener);
        uint256 fee = (uint256(price) * 250) / 10_000;
        uint256 net = price - fee;
        licensing.settle(id, threeSplits(), address(0));
        uint256 sum;
        for (uint256 i; i < 3; ++i) {
            uint256 part = licensing.owed(threeSplits()[i].account, address(0));
            assertEq(part, (net * threeSplits()[i].bps) / 10_000);
            sum += part;
        }
        assertEq(licensing.owed(dao, address(0)), fee);
        (uint128 left, uint128 feeLeft) = licensing.accrual(id, registry.splitsHashOf(id), address(0));
        assertEq(left, net - sum, "what cannot be divided stays with the track");
        assertLe(left, 2);
        assertEq(feeLeft, 0);
    }

    /// @notice The draft sold what nobody had priced.
    function test_nothingIsSoldWithoutAPrice() public {
        bytes32 unpriced = registerTrack(artist, 2);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, unpriced, 0));
        licensing.purchase(unpriced, 0, 1, listener, 0);
        bytes32 unknown = keccak256("nobody's");
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, unknown, 0));
        licensing.purchase(unknown, 0, 1, listener, 0);
        vm.prank(artist);
        licensing.setTermEnabled(id, 0, false);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, id, 0));
        licensing.purchase(id, 0, 1, listener, 1 ether);
    }

    /// @notice The draft let anybody do anything.
    function test_aStrangerChangesNothing() public {
        bytes32 licenceId = buy(id, 0, 1, listener, listener);
        address stranger = makeAddr("stranger");
        bytes memory notRegistered = abi.encodeWithSelector(TrackRegistry.NotAllowed.selector, stranger);
        bytes memory notAllowed = abi.encodeWithSelector(SplitLedger.NotAllowed.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(notAllowed);
        licensing.addTerm(id, 0, 0, 0, 1);
        vm.expectRevert(notAllowed);
        licensing.addTerms(id, new MusicLicensing.TermInput[](1));
        vm.expectRevert(notAllowed);
        licensing.setTermEnabled(id, 0, false);
        vm.expectRevert(notRegistered);
        registry.setSplits(id, oneSplit(stranger));
        vm.expectRevert(notAllowed);
        licensing.setFee(0);
        vm.expectRevert(notAllowed);
        licensing.setPauser(stranger);
        vm.expectRevert(notAllowed);
        licensing.pause();
        vm.expectRevert(notAllowed);
        licensing.unpause();
        vm.expectRevert(notAllowed);
        licensing.setToken(address(dollars), false);
        vm.expectRevert(notAllowed);
        licensing.revokeWithRefund(licenceId);
        vm.expectRevert(
            abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, stranger, uint256(id))
        );
        registry.transferFrom(artist, stranger, uint256(id));
    }

    /// @notice The draft kept what was paid too much.
    function test_theNativePaymentIsExact(uint256 sent) public {
        sent = bound(sent, 0, 10 ether);
        vm.assume(sent != 1 ether);
        vm.deal(listener, sent);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, sent, 1 ether));
        vm.prank(listener);
        licensing.purchase{value: sent}(id, 0, 1, listener, 1 ether);
    }

    /// @notice The draft charged whatever the price was by then.
    function test_aDearerTermInTheSameBlockHurtsNobody() public {
        vm.startPrank(artist);
        licensing.setTermEnabled(id, 0, false);
        uint16 dearer = licensing.addTerm(id, 2 ether, 30 days, 0, 1);
        vm.stopPrank();
        vm.deal(listener, 2 ether);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, id, 0));
        licensing.purchase{value: 1 ether}(id, 0, 1, listener, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.PriceAboveMaximum.selector, 2 ether, 1 ether));
        licensing.purchase{value: 1 ether}(id, dearer, 1, listener, 1 ether);
        assertEq(listener.balance, 2 ether);
    }

    /// @notice The draft had one owner who made tokens at will.
    function test_tokensAreMadeByTheDaoAndWithinItsYear() public {
        MarinaToken token = new MarinaToken(artist, dao);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.NotMinter.selector, artist));
        vm.prank(artist);
        token.mint(artist, 1);
        vm.startPrank(dao);
        token.mint(artist, 50_000 ether);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.MintCapExceeded.selector, 1, 0));
        token.mint(artist, 1);
    }

    /// @notice The draft sold any duration for one price.
    function test_thePriceGrowsWithThePeriods(uint16 periods) public {
        periods = uint16(bound(periods, 1, 1_200));
        bytes32 licenceId = buy(id, 0, periods, listener, listener);
        assertEq(licensing.expiresAt(licenceId), block.timestamp + uint256(periods) * 30 days);
        assertEq(address(licensing).balance, uint256(periods) * 1 ether);
    }

    /// @notice And neither none nor more than 1,200 periods are sold.
    function test_periodsHaveBounds(uint16 periods) public {
        vm.assume(periods == 0 || periods > 1_200);
        uint256 price = uint256(periods) * 1 ether;
        vm.deal(listener, price);
        vm.startPrank(listener);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchase{value: price}(id, 0, periods, listener, type(uint256).max);
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.purchase(id, 2, 2, listener, type(uint256).max);
    }

    /// @notice The draft's flag `active` was set once and never again: here it follows from the time.
    function test_whetherALicenceIsActiveFollowsFromTheTime() public {
        bytes32 licenceId = buy(id, 0, 1, listener, listener);
        (,,,, bool active,) = licensing.licenses(licenceId);
        assertTrue(active);
        skip(30 days);
        (,,,, active,) = licensing.licenses(licenceId);
        assertFalse(active);
    }

    /// @notice An early version paid refunds in the token of the present term: an artist could price anew in a
    /// worthless token and "pay back" in that. A refund is in the token that was paid, whatever is sold now.
    function test_aRefundInAWorthlessTokenDoesNotWork() public {
        dollars.mint(listener, 5e6);
        vm.startPrank(listener);
        dollars.approve(address(licensing), 5e6);
        bytes32 licenceId = licensing.purchase(id, 1, 1, listener, 5e6);
        vm.stopPrank();

        TestToken worthless = new TestToken();
        vm.prank(dao);
        uint8 worthlessIndex = licensing.setToken(address(worthless), true);
        worthless.mint(artist, 1e12);
        vm.startPrank(artist);
        licensing.setTermEnabled(id, 1, false);
        licensing.addTerm(id, 5e6, 30 days, worthlessIndex, 1);
        worthless.approve(address(licensing), type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(licensing), 0, 5e6)
        );
        licensing.revokeWithRefund(licenceId);
        vm.stopPrank();
        assertTrue(licensing.isLicensed(id, listener, 1), "no refund, no end");

        dollars.mint(artist, 5e6);
        vm.startPrank(artist);
        dollars.approve(address(licensing), 5e6);
        assertEq(licensing.revokeWithRefund(licenceId), 5e6);
        vm.stopPrank();
        assertEq(licensing.withdraw(listener, address(dollars)), 5e6);
        assertEq(licensing.withdraw(listener, address(worthless)), 0);
        assertEq(dollars.balanceOf(listener), 5e6);
    }

    /// @notice An early version could not sell a licence again that had been revoked.
    function test_aRevokedLicenceCanBeBoughtAgain() public {
        bytes32 licenceId = buy(id, 0, 1, listener, listener);
        vm.deal(artist, 1 ether);
        vm.prank(artist);
        licensing.revokeWithRefund{value: 1 ether}(licenceId);
        assertFalse(licensing.isLicensed(id, listener, 1));
        assertEq(buy(id, 0, 1, listener, listener), licenceId);
        assertTrue(licensing.isLicensed(id, listener, 1));
    }
}
