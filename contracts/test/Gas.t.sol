// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";

/// @notice What transactions cost, as a chain counts it: isolated, so that every call is a transaction of its own with
/// cold storage and 21,000 gas of its own.
/// forge-config: default.isolate = true
contract GasTest is Fixture {
    bytes32 id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
        vm.startPrank(artist);
        licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        licensing.addTerm(id, 5e6, 30 days, dollarIndex, 1);
        vm.stopPrank();
        // The first purchase of a track opens its account in the ledger; what follows is the steady state.
        buy(id, 0, 1, address(0xb0b), address(0xb0b));
        dollars.mint(listener, 1_000e6);
        vm.deal(listener, 100 ether);
        vm.prank(listener);
        dollars.approve(address(licensing), type(uint256).max);
        dollars.mint(address(0xb0b), 1_000e6);
        vm.startPrank(address(0xb0b));
        dollars.approve(address(licensing), type(uint256).max);
        licensing.purchase(id, 1, 1, address(0xb0b), 5e6);
        vm.stopPrank();
    }

    function test_gasOfAPurchaseInTheNativeCoin() public {
        vm.prank(listener);
        licensing.purchase{value: 1 ether}(id, 0, 1, listener, 1 ether);
        assertLe(vm.snapshotGasLastCall("purchase native"), 112_000);
    }

    function test_gasOfARenewal() public {
        vm.prank(listener);
        licensing.purchase{value: 1 ether}(id, 0, 1, listener, 1 ether);
        vm.prank(listener);
        licensing.purchase{value: 1 ether}(id, 0, 1, listener, 1 ether);
        assertLe(vm.snapshotGasLastCall("renewal native"), 77_000);
    }

    function test_gasOfAPurchaseInAToken() public {
        vm.prank(listener);
        licensing.purchase(id, 1, 1, listener, 5e6);
        assertLe(vm.snapshotGasLastCall("purchase ERC-20"), 140_000);
    }

    function test_gasOfAPurchaseWithPermit() public {
        (address payer, uint256 key) = makeAddrAndKey("payer");
        dollars.mint(payer, 5e6 + 1);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(key, payer, 5e6, block.timestamp);
        vm.prank(payer);
        licensing.purchaseWithPermit(MusicLicensing.Order(id, 1, 1, payer, 5e6), block.timestamp, v, r, s);
        assertLe(vm.snapshotGasLastCall("purchase with permit"), 170_000);
    }

    function test_gasOfARegistrationWithThreeSplits() public {
        vm.prank(artist);
        registry.register(registration(2, threeSplits()));
        assertLe(vm.snapshotGasLastCall("register, 3 splits"), 175_000);
    }

    function test_gasOfAFirstRegistrationWithThreeSplits() public {
        vm.prank(address(0xa11));
        registry.register(registration(2, threeSplits()));
        assertLe(vm.snapshotGasLastCall("register, 3 splits, first of the artist"), 175_000);
    }

    function test_gasOfAnchoringAKeybox() public {
        vm.prank(artist);
        registry.anchorKeybox(id, 1, keccak256("keybox"), 1, 0);
        assertLe(vm.snapshotGasLastCall("anchor keybox"), 60_000);
    }

    function test_gasOfAnchoringAnAlbum() public {
        TrackRegistry.Anchor[] memory batch = new TrackRegistry.Anchor[](20);
        for (uint256 i; i < 10; ++i) {
            bytes32 track = registerTrack(artist, 10 + i);
            batch[2 * i] = TrackRegistry.Anchor(track, 1, keccak256("stream"), 1, 0);
            batch[2 * i + 1] = TrackRegistry.Anchor(track, 2, keccak256("original"), 1, 0);
        }
        vm.prank(artist);
        registry.anchorKeyboxes(batch);
        assertLe(vm.snapshotGasLastCall("anchor 20 keyboxes of 10 tracks"), 700_000);
    }

    function test_gasOfARefund() public {
        bytes32 licenceId = buy(id, 0, 1, listener, listener);
        vm.deal(artist, 10 ether);
        vm.prank(artist);
        licensing.revokeWithRefund{value: 1 ether}(licenceId);
        assertLe(vm.snapshotGasLastCall("refund native"), 90_000);
    }
}
