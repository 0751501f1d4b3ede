// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {TextIds} from "../src/lib/TextIds.sol";

/// @notice A track on a release, with four terms: a month, for ever, a month in dollars, and a download.
abstract contract LicensingFixture is Fixture {
    address internal constant COIN = address(0);
    uint64 internal constant NEVER = type(uint64).max;

    bytes32 internal release;
    bytes32 internal id;
    uint16 internal month;
    uint16 internal ever;
    uint16 internal dollarMonth;
    uint16 internal download;

    function setUp() public override {
        super.setUp();
        release = registerTrack(artist, 1);
        vm.startPrank(artist);
        id = registry.register(trackOf(release, 2));
        month = licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        ever = licensing.addTerm(id, 10 ether, 0, 0, 1);
        dollarMonth = licensing.addTerm(id, 5e6, 30 days, dollarIndex, 1);
        download = licensing.addTerm(id, 20 ether, 0, 0, 2);
        vm.stopPrank();
    }

    function trackOf(bytes32 releaseId, uint256 salt) internal view returns (TrackRegistry.Registration memory made) {
        made = registration(salt, splitsOf(artist, 9_000, mixer));
        made.releaseId = releaseId;
    }

    function dollarsFor(address who, uint256 amount) internal {
        dollars.mint(who, amount);
        vm.prank(who);
        dollars.approve(address(licensing), amount);
    }

    function unknownTerm(bytes32 which, uint256 termId) internal {
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.UnknownTerm.selector, which, termId));
    }

    function textOf(bytes32 which, string memory prefix) internal pure returns (string memory text) {
        return string.concat(prefix, string(TextIds.base32(abi.encodePacked(which))));
    }
}
