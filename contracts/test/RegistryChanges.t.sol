// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";

/// @notice Who may change a record, and where its keys are.
contract RegistryChangesTest is Fixture {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
    }

    function refused(address who) private {
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.NotAllowed.selector, who));
        vm.prank(who);
    }

    // Changes

    function test_contentHasVersions() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.ContentUpdated(id, bytes32(uint256(7)), 2);
        vm.expectEmit(address(registry));
        emit MetadataUpdate(uint256(id));
        vm.prank(artist);
        registry.updateContent(id, bytes32(uint256(7)));
        (, bytes32 digest,,,, uint32 version,,,) = registry.record(id);
        assertEq(digest, bytes32(uint256(7)));
        assertEq(version, 2);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        vm.prank(artist);
        registry.updateContent(id, 0);
    }

    event MetadataUpdate(uint256 tokenId);

    function test_anArtistStopsAndResumesSales() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.ActiveChanged(id, false);
        vm.prank(artist);
        registry.setActive(id, false);
        (, bool open) = registry.saleState(id);
        assertFalse(open);
        (,,,,,, bool active, bool blocked,) = registry.record(id);
        assertFalse(active);
        assertFalse(blocked);
        vm.prank(artist);
        registry.setActive(id, true);
        (, open) = registry.saleState(id);
        assertTrue(open);
    }

    function test_theDaoBlocksAndUnblocksSales() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.BlockedChanged(id, true);
        vm.prank(dao);
        registry.setBlocked(id, true);
        (, bool open) = registry.saleState(id);
        assertFalse(open);
        vm.prank(artist);
        registry.setActive(id, true);
        (, open) = registry.saleState(id);
        assertFalse(open);
        (,,,,,, bool active, bool blocked,) = registry.record(id);
        assertTrue(active);
        assertTrue(blocked);
        vm.prank(dao);
        registry.setBlocked(id, false);
        (, open) = registry.saleState(id);
        assertTrue(open);
    }

    function test_theDaoAdoptsAModerationList() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.ModerationListChanged(bytes32(uint256(5)));
        vm.prank(dao);
        registry.setModerationList(bytes32(uint256(5)));
        assertEq(registry.moderationList(), bytes32(uint256(5)));
    }

    function test_anArtistSetsTheRoyalty() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.RoyaltyChanged(id, 5_000);
        vm.prank(artist);
        registry.setRoyalty(id, 5_000);
        (address receiver, uint256 amount) = registry.royaltyInfo(uint256(id), 1 ether);
        assertEq(receiver, artist);
        assertEq(amount, 0.5 ether);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        vm.prank(artist);
        registry.setRoyalty(id, 5_001);
    }

    function test_aRoyaltyNeverExceedsItsPartOfThePrice(uint256 price, uint16 bps) public {
        bps = uint16(bound(bps, 0, 5_000));
        vm.prank(artist);
        registry.setRoyalty(id, bps);
        (, uint256 amount) = registry.royaltyInfo(uint256(id), price);
        assertLe(amount, price / 2);
        uint256 part = price / 10_000;
        assertGe(amount, part * bps);
        assertLe(amount, part * bps + 10_000);
    }

    function test_strangersChangeNothing() public {
        address[2] memory strangers = [listener, dao];
        for (uint256 i; i < strangers.length; ++i) {
            address who = strangers[i];
            refused(who);
            registry.updateContent(id, bytes32(uint256(1)));
            refused(who);
            registry.setSplits(id, oneSplit(listener));
            refused(who);
            registry.setActive(id, false);
            refused(who);
            registry.setRoyalty(id, 0);
            refused(who);
            registry.anchorKeybox(id, 0, bytes32(uint256(1)), 1, 0);
            refused(who);
            registry.anchorKeyboxes(anchors(id));
            refused(who);
            registry.setKeyboxWriter(id, who, true);
        }
        refused(artist);
        registry.setBlocked(id, false);
        refused(artist);
        registry.setModerationList(0);
    }

    function test_anAccountThatMayTransferMayNotChange() public {
        vm.prank(artist);
        registry.setApprovalForAll(listener, true);
        refused(listener);
        registry.setSplits(id, oneSplit(listener));
    }

    function test_whatIsNotRegisteredCannotBeReadOrChanged() public {
        bytes32 unknown = bytes32(uint256(9));
        bytes memory reason = abi.encodeWithSelector(TrackRegistry.UnknownId.selector, unknown);
        vm.expectRevert(reason);
        registry.record(unknown);
        vm.expectRevert(reason);
        registry.royaltyInfo(uint256(unknown), 1);
        vm.expectRevert(reason);
        registry.tokenURI(uint256(unknown));
        vm.expectRevert(reason);
        registry.isKeyboxWriter(unknown, artist);
        vm.expectRevert(reason);
        registry.setActive(unknown, true);
        vm.expectRevert(reason);
        registry.anchorKeybox(unknown, 0, bytes32(uint256(1)), 1, 0);
        vm.expectRevert(reason);
        vm.prank(dao);
        registry.setBlocked(unknown, true);
        (bytes32 splitsHash, bool open) = registry.saleState(unknown);
        assertEq(splitsHash, 0);
        assertFalse(open);
        assertEq(registry.splitsHashOf(unknown), 0);
    }

    function test_theRightGoesWithTheToken() public {
        vm.prank(artist);
        registry.transferFrom(artist, listener, uint256(id));
        refused(artist);
        registry.setSplits(id, oneSplit(artist));
        vm.prank(listener);
        registry.setSplits(id, oneSplit(listener));
        (address receiver,) = registry.royaltyInfo(uint256(id), 1);
        assertEq(receiver, listener);
    }

    // Keyboxes

    function test_anOwnerAnchorsAKeybox() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.KeyboxAnchored(id, 1, bytes32(uint256(7)), 1, 2);
        vm.prank(artist);
        registry.anchorKeybox(id, 1, bytes32(uint256(7)), 1, 2);
        (bytes32 digest, uint32 epoch, uint8 finality) = registry.keybox(id, 1);
        assertEq(digest, bytes32(uint256(7)));
        assertEq(epoch, 1);
        assertEq(finality, 2);
    }

    function test_anEpochOnlyGrows(uint32 first, uint32 second) public {
        first = uint32(bound(first, 1, type(uint32).max));
        second = uint32(bound(second, 0, first));
        vm.startPrank(artist);
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.StaleEpoch.selector, 0));
        registry.anchorKeybox(id, 2, bytes32(uint256(1)), 0, 0);
        registry.anchorKeybox(id, 2, bytes32(uint256(1)), first, 0);
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.StaleEpoch.selector, first));
        registry.anchorKeybox(id, 2, bytes32(uint256(2)), second, 0);
    }

    function test_aKeyboxHasATierAPolicyAndADigest() public {
        vm.startPrank(artist);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.anchorKeybox(id, 3, bytes32(uint256(1)), 1, 0);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.anchorKeybox(id, 0, bytes32(uint256(1)), 1, 3);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.anchorKeybox(id, 0, 0, 1, 0);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.keybox(id, 3);
    }

    function anchors(bytes32 other) private view returns (TrackRegistry.Anchor[] memory made) {
        made = new TrackRegistry.Anchor[](3);
        made[0] = TrackRegistry.Anchor(id, 1, bytes32(uint256(7)), 1, 0);
        made[1] = TrackRegistry.Anchor(id, 2, bytes32(uint256(8)), 4, 1);
        made[2] = TrackRegistry.Anchor(other, 1, bytes32(uint256(9)), 2, 2);
    }

    function test_anOwnerAnchorsManyKeyboxesAtOnce() public {
        bytes32 other = registerTrack(artist, 2);
        TrackRegistry.Anchor[] memory batch = anchors(other);
        for (uint256 i; i < batch.length; ++i) {
            vm.expectEmit(address(registry));
            emit TrackRegistry.KeyboxAnchored(
                batch[i].id, batch[i].tier, batch[i].digest, batch[i].epoch, batch[i].finality
            );
        }
        vm.prank(artist);
        registry.anchorKeyboxes(batch);
        for (uint256 i; i < batch.length; ++i) {
            (bytes32 digest, uint32 epoch, uint8 finality) = registry.keybox(batch[i].id, batch[i].tier);
            assertEq(digest, batch[i].digest);
            assertEq(epoch, batch[i].epoch);
            assertEq(finality, batch[i].finality);
        }
    }

    function test_aBatchIsAnchoredWholeOrNotAtAll() public {
        bytes32 foreign = registerTrack(listener, 2);
        refused(artist);
        registry.anchorKeyboxes(anchors(foreign));
        (bytes32 digest, uint32 epoch,) = registry.keybox(id, 1);
        assertEq(digest, 0);
        assertEq(epoch, 0);
        TrackRegistry.Anchor[] memory batch = anchors(id);
        vm.startPrank(artist);
        registry.anchorKeyboxes(batch);
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.StaleEpoch.selector, 2));
        registry.anchorKeyboxes(batch);
    }

    function test_aBatchHasThreeAnchorsForEachRegistration() public {
        TrackRegistry.Anchor[] memory batch = new TrackRegistry.Anchor[](193);
        for (uint256 i; i < batch.length; ++i) {
            batch[i] = TrackRegistry.Anchor(id, 1, bytes32(uint256(1)), uint32(i + 1), 0);
        }
        vm.startPrank(artist);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.anchorKeyboxes(batch);
        assembly {
            mstore(batch, 192)
        }
        registry.anchorKeyboxes(batch);
        (, uint32 epoch,) = registry.keybox(id, 1);
        assertEq(epoch, 192);
    }

    /// @notice One or many, an anchor is refused and kept by the same rules.
    function test_aBatchOfOneIsTheSameAsOne(uint8 tier, bytes32 digest, uint32 epoch, uint8 finality, uint8 who)
        public
    {
        (tier, finality) = (tier % 4, finality % 4);
        address caller = [artist, mixer, listener][who % 3];
        vm.prank(artist);
        registry.setKeyboxWriter(id, mixer, true);
        TrackRegistry.Anchor[] memory batch = new TrackRegistry.Anchor[](1);
        batch[0] = TrackRegistry.Anchor(id, tier, digest, epoch, finality);
        bytes32 one = outcome(caller, tier, abi.encodeCall(registry.anchorKeybox, (id, tier, digest, epoch, finality)));
        bytes32 many = outcome(caller, tier, abi.encodeCall(registry.anchorKeyboxes, (batch)));
        assertEq(one, many);
    }

    /// @notice Return a digest of what a call answers and leaves behind, and take it back.
    function outcome(address caller, uint8 tier, bytes memory data) private returns (bytes32 whole) {
        uint256 before = vm.snapshotState();
        vm.prank(caller);
        (bool done, bytes memory answer) = address(registry).call(data);
        (bytes32 digest, uint32 epoch, uint8 finality) = registry.keybox(id, tier % 3);
        whole = keccak256(abi.encode(done, answer, digest, epoch, finality));
        vm.revertToState(before);
    }

    /// @notice All small values share one slot: none may touch another.
    function test_packedValuesKeepApart(uint32[3] memory epochs, uint8[3] memory policies, uint16 royalty, bool active)
        public
    {
        royalty = uint16(bound(royalty, 0, 5_000));
        vm.startPrank(artist);
        for (uint8 tier; tier < 3; ++tier) {
            epochs[tier] = uint32(bound(epochs[tier], 1, type(uint32).max));
            policies[tier] = uint8(bound(policies[tier], 0, 2));
            registry.anchorKeybox(id, tier, bytes32(uint256(tier) + 1), epochs[tier], policies[tier]);
        }
        registry.setRoyalty(id, royalty);
        registry.setActive(id, active);
        registry.updateContent(id, bytes32(uint256(1)));
        vm.stopPrank();
        vm.prank(dao);
        registry.setBlocked(id, !active);
        for (uint8 tier; tier < 3; ++tier) {
            (bytes32 digest, uint32 epoch, uint8 finality) = registry.keybox(id, tier);
            assertEq(digest, bytes32(uint256(tier) + 1));
            assertEq(epoch, epochs[tier]);
            assertEq(finality, policies[tier]);
        }
        (,,,, uint16 royaltyNow, uint32 version, bool activeNow, bool blocked, uint64 time) = registry.record(id);
        assertEq(royaltyNow, royalty);
        assertEq(version, 2);
        assertEq(activeNow, active);
        assertEq(blocked, !active);
        assertEq(time, 1_800_000_000);
    }

    function test_aWriterAnchorsUntilItsRightIsTaken() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.KeyboxWriterChanged(id, mixer, true);
        vm.prank(artist);
        registry.setKeyboxWriter(id, mixer, true);
        assertTrue(registry.isKeyboxWriter(id, mixer));
        vm.prank(mixer);
        registry.anchorKeybox(id, 0, bytes32(uint256(1)), 1, 0);
        refused(mixer);
        registry.setSplits(id, oneSplit(mixer));
        refused(mixer);
        registry.setKeyboxWriter(id, singer, true);
        vm.prank(artist);
        registry.setKeyboxWriter(id, mixer, false);
        refused(mixer);
        registry.anchorKeybox(id, 0, bytes32(uint256(1)), 2, 0);
    }

    function test_aTransferEndsTheWritersRight() public {
        vm.startPrank(artist);
        registry.setKeyboxWriter(id, mixer, true);
        registry.transferFrom(artist, listener, uint256(id));
        vm.stopPrank();
        assertFalse(registry.isKeyboxWriter(id, mixer));
        refused(mixer);
        registry.anchorKeybox(id, 0, bytes32(uint256(1)), 1, 0);
        refused(artist);
        registry.anchorKeybox(id, 0, bytes32(uint256(1)), 1, 0);
        vm.prank(listener);
        registry.anchorKeybox(id, 0, bytes32(uint256(1)), 1, 0);
    }

    function test_oldDeviceBindingsAreDeclaredVoid() public {
        assertEq(registry.bindingEpoch(listener), 0);
        vm.expectEmit(address(registry));
        emit TrackRegistry.BindingEpochBumped(listener, 1);
        vm.prank(listener);
        assertEq(registry.bumpBindingEpoch(), 1);
        vm.prank(listener);
        assertEq(registry.bumpBindingEpoch(), 2);
        assertEq(registry.bindingEpoch(listener), 2);
        assertEq(registry.bindingEpoch(artist), 0);
    }
}
