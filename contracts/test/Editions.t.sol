// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Fixture} from "./Fixture.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {TrackEditions} from "../src/TrackEditions.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";

/// @notice Limited editions: made, sold, capped, and where their money goes.
contract EditionsTest is Fixture {
    address private constant COIN = address(0);

    bytes32 private id;
    uint256 private edition;
    uint256 private dollarEdition;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
        vm.startPrank(artist);
        edition = editions.createEdition(id, 100, 1 ether, 0);
        dollarEdition = editions.createEdition(id, 10, 5e6, dollarIndex);
        vm.stopPrank();
    }

    function bought(uint256 which, uint32 amount, uint256 value) private {
        vm.deal(listener, value);
        vm.prank(listener);
        editions.buy{value: value}(which, amount, listener, value);
    }

    function test_anOwnerMakesAnEdition() public {
        vm.expectEmit(address(editions));
        emit TrackEditions.EditionCreated(3, id, 7, 2 ether, 0);
        vm.prank(artist);
        assertEq(editions.createEdition(id, 7, 2 ether, 0), 3);
        assertEq(editions.editionCount(), 3);
        TrackEditions.Edition memory made = editions.edition(3);
        assertEq(made.trackId, id);
        assertEq(made.cap, 7);
        assertEq(made.price, 2 ether);
        assertEq(made.minted, 0);
        assertEq(made.token, 0);
        assertTrue(made.open);
    }

    function test_anEditionHasACapAndATokenThatIsIn() public {
        vm.startPrank(artist);
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        editions.createEdition(id, 0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, 9));
        editions.createEdition(id, 1, 1, 9);
        vm.stopPrank();
        vm.prank(dao);
        licensing.setToken(address(dollars), false);
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        vm.prank(artist);
        editions.createEdition(id, 1, 1, dollarIndex);
    }

    function test_strangersMakeAndChangeNothing() public {
        vm.startPrank(listener);
        bytes memory reason = abi.encodeWithSelector(TrackEditions.NotAllowed.selector, listener);
        vm.expectRevert(reason);
        editions.createEdition(id, 1, 1, 0);
        vm.expectRevert(reason);
        editions.mint(edition, listener, 1);
        vm.expectRevert(reason);
        editions.setPrice(edition, 0);
        vm.expectRevert(reason);
        editions.setOpen(edition, false);
        bytes32 unknown = bytes32(uint256(8));
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, uint256(unknown)));
        editions.createEdition(unknown, 1, 1, 0);
    }

    function test_whatIsNotThereIsUnknown() public {
        bytes memory reason = abi.encodeWithSelector(TrackEditions.UnknownEdition.selector, 9);
        vm.expectRevert(reason);
        editions.edition(9);
        vm.expectRevert(reason);
        editions.buy(9, 1, listener, 0);
        vm.expectRevert(reason);
        editions.mint(9, listener, 1);
        vm.expectRevert(reason);
        editions.setPrice(9, 1);
        vm.expectRevert(reason);
        editions.setOpen(9, true);
        vm.expectRevert(reason);
        editions.royaltyInfo(9, 1);
        vm.expectRevert(reason);
        editions.uri(9);
    }

    function test_aSaleGoesThroughTheLedger() public {
        vm.deal(listener, 3 ether);
        vm.expectEmit(address(editions));
        emit TrackEditions.EditionSold(edition, singer, listener, 3, 3 ether);
        vm.prank(listener);
        editions.buy{value: 3 ether}(edition, 3, singer, 3 ether);
        assertEq(editions.balanceOf(singer, edition), 3);
        assertEq(editions.edition(edition).minted, 3);
        assertEq(address(editions).balance, 0);
        assertEq(address(licensing).balance, 3 ether);
        licensing.settle(id, splitsOf(artist, 9_000, mixer), COIN);
        assertEq(licensing.owed(artist, COIN), 2.6325 ether);
        assertEq(licensing.owed(mixer, COIN), 0.2925 ether);
        assertEq(licensing.owed(dao, COIN), 0.075 ether);
    }

    function test_aSaleInATokenGoesThroughTheLedger() public {
        dollars.mint(listener, 20e6);
        vm.startPrank(listener);
        dollars.approve(address(editions), 20e6);
        editions.buy(dollarEdition, 3, listener, 15e6);
        assertEq(editions.balanceOf(listener, dollarEdition), 3);
        assertEq(dollars.balanceOf(address(editions)), 0);
        assertEq(dollars.allowance(address(editions), address(licensing)), 0);
        assertEq(dollars.balanceOf(address(licensing)), 15e6);
        vm.deal(listener, 1);
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        editions.buy{value: 1}(dollarEdition, 1, listener, 5e6);
    }

    function test_anEditionOpensNoTier() public {
        bought(edition, 1, 1 ether);
        assertFalse(licensing.tierOpen(id, listener, 1));
    }

    function test_thePriceIsExactAndAgreedTo(uint96 sent) public {
        vm.assume(sent != 2 ether);
        vm.deal(listener, sent);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, sent, 2 ether));
        editions.buy{value: sent}(edition, 2, listener, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(TrackEditions.PriceAboveMaximum.selector, 2 ether, 2 ether - 1));
        editions.buy{value: sent}(edition, 2, listener, 2 ether - 1);
    }

    function test_aRepriceInTheSameBlockSurprisesNobody() public {
        vm.expectEmit(address(editions));
        emit TrackEditions.EditionPriceChanged(edition, 5 ether);
        vm.prank(artist);
        editions.setPrice(edition, 5 ether);
        vm.deal(listener, 5 ether);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(TrackEditions.PriceAboveMaximum.selector, 5 ether, 1 ether));
        editions.buy{value: 1 ether}(edition, 1, listener, 1 ether);
        editions.buy{value: 5 ether}(edition, 1, listener, 5 ether);
    }

    function test_aFreeEditionIsFree() public {
        vm.startPrank(artist);
        uint256 coin = editions.createEdition(id, 5, 0, 0);
        uint256 token = editions.createEdition(id, 5, 0, dollarIndex);
        vm.stopPrank();
        vm.startPrank(listener);
        editions.buy(coin, 1, listener, 0);
        editions.buy(token, 1, listener, 0);
        assertEq(editions.balanceOf(listener, coin) + editions.balanceOf(listener, token), 2);
        vm.deal(listener, 1);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1, 0));
        editions.buy{value: 1}(coin, 1, listener, 0);
    }

    function test_thereAreNeverMoreThanTheCap(uint32 minted, uint32 sold) public {
        minted = uint32(bound(minted, 1, 150));
        sold = uint32(bound(sold, 1, 150));
        vm.startPrank(artist);
        if (minted > 100) vm.expectRevert(abi.encodeWithSelector(TrackEditions.SoldOut.selector, 100));
        editions.mint(edition, artist, minted);
        vm.stopPrank();
        uint256 left = minted > 100 ? 100 : 100 - minted;
        vm.deal(listener, 150 ether);
        vm.startPrank(listener);
        if (sold > left) vm.expectRevert(abi.encodeWithSelector(TrackEditions.SoldOut.selector, left));
        editions.buy{value: uint256(sold) * 1 ether}(edition, sold, listener, 150 ether);
        assertLe(editions.edition(edition).minted, 100);
        assertEq(
            editions.edition(edition).minted,
            editions.balanceOf(artist, edition) + editions.balanceOf(listener, edition)
        );
    }

    function test_nothingIsNotBought() public {
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        editions.buy(edition, 0, listener, 0);
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        vm.prank(artist);
        editions.mint(edition, artist, 0);
    }

    function test_salesAreStoppedAndResumed() public {
        vm.expectEmit(address(editions));
        emit TrackEditions.EditionOpenChanged(edition, false);
        vm.prank(artist);
        editions.setOpen(edition, false);
        vm.deal(listener, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(TrackEditions.UnknownEdition.selector, edition));
        vm.prank(listener);
        editions.buy{value: 1 ether}(edition, 1, listener, 1 ether);
        vm.startPrank(artist);
        editions.mint(edition, artist, 1);
        editions.setOpen(edition, true);
        vm.stopPrank();
        bought(edition, 1, 1 ether);
    }

    function test_whatIsStoppedBlockedOrPausedIsNotSold() public {
        vm.deal(listener, 1 ether);
        vm.prank(artist);
        registry.setActive(id, false);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NotForSale.selector, id));
        vm.prank(listener);
        editions.buy{value: 1 ether}(edition, 1, listener, 1 ether);
        vm.prank(artist);
        registry.setActive(id, true);
        vm.prank(dao);
        registry.setBlocked(id, true);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NotForSale.selector, id));
        vm.prank(listener);
        editions.buy{value: 1 ether}(edition, 1, listener, 1 ether);
        vm.startPrank(dao);
        registry.setBlocked(id, false);
        licensing.pause();
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.Paused.selector, block.timestamp + 7 days));
        vm.prank(listener);
        editions.buy{value: 1 ether}(edition, 1, listener, 1 ether);
        assertEq(editions.edition(edition).minted, 0);
    }

    function test_theRightsTakeTheEditionWithThem() public {
        vm.prank(artist);
        registry.transferFrom(artist, singer, uint256(id));
        vm.expectRevert(abi.encodeWithSelector(TrackEditions.NotAllowed.selector, artist));
        vm.prank(artist);
        editions.mint(edition, artist, 1);
        vm.prank(singer);
        editions.mint(edition, singer, 1);
        (address receiver, uint256 amount) = editions.royaltyInfo(edition, 1 ether);
        assertEq(receiver, singer);
        assertEq(amount, 0.08 ether);
    }

    function test_anEditionIsDescribedByItsTracksManifest() public view {
        assertEq(editions.uri(edition), registry.tokenURI(uint256(id)));
    }

    function test_itSaysWhichInterfacesItHas() public view {
        assertTrue(editions.supportsInterface(0x01ffc9a7), "ERC-165");
        assertTrue(editions.supportsInterface(0xd9b67a26), "ERC-1155");
        assertTrue(editions.supportsInterface(0x0e89341c), "ERC-1155 metadata");
        assertTrue(editions.supportsInterface(0x2a55205a), "ERC-2981");
        assertFalse(editions.supportsInterface(0xffffffff));
    }

    function test_contractsThatDoNotBelongTogetherAreRefused() public {
        TrackRegistry other = new TrackRegistry(dao);
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        new TrackEditions(other, licensing);
        vm.expectRevert(TrackEditions.OutOfBounds.selector);
        new TrackEditions(registry, MusicLicensing(artist));
        assertEq(address(editions.registry()), address(registry));
        assertEq(address(editions.licensing()), address(licensing));
    }
}
