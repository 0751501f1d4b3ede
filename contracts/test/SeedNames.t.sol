// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {TextIds} from "../src/lib/TextIds.sol";
import {LicensingFixture} from "./LicensingFixture.sol";

/// @notice The names of the original specification, and the texts of ids.
contract SeedNamesTest is LicensingFixture {
    // The names of the original specification

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
