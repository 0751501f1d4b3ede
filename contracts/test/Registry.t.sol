// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Fixture} from "./Fixture.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {Split, Splits} from "../src/lib/Splits.sol";

/// @notice Who may register what, and what can be read afterwards.
contract RegistryTest is Fixture {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
    }

    // Registration

    function test_anIdFollowsFromArtistAndSalt() public view {
        bytes32 salt = registration(1, oneSplit(artist)).salt;
        assertEq(id, keccak256(abi.encode(artist, salt)));
        assertEq(id, registry.idOf(artist, salt));
        assertEq(registry.ownerOf(uint256(id)), artist);
    }

    function test_aRecordHoldsWhatWasRegistered() public {
        TrackRegistry.Registration memory made = registration(2, threeSplits());
        made.releaseId = id;
        bytes32 track = registry.idOf(artist, made.salt);
        vm.expectEmit(address(registry));
        emit TrackRegistry.Registered(track, artist, id, made.contentDigest, 800, made.splits);
        vm.prank(artist);
        assertEq(registry.register(made), track);
        (
            address owner,
            bytes32 digest,
            bytes32 splitsHash,
            bytes32 releaseId,
            uint16 royalty,
            uint32 version,
            bool active,
            bool blocked,
            uint64 time
        ) = registry.record(track);
        assertEq(owner, artist);
        assertEq(digest, made.contentDigest);
        assertEq(splitsHash, keccak256(abi.encode(made.splits)));
        assertEq(registry.splitsHashOf(track), splitsHash);
        assertEq(releaseId, id);
        assertEq(registry.releaseOf(track), id);
        assertEq(royalty, 800);
        assertEq(version, 1);
        assertTrue(active);
        assertFalse(blocked);
        assertEq(time, block.timestamp);
    }

    function test_nobodyCanRegisterAnothersId() public {
        bytes32 stranger = registerTrack(listener, 1);
        assertNotEq(stranger, id);
        assertEq(registry.ownerOf(uint256(id)), artist);
    }

    function test_anIdIsRegisteredOnce() public {
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.AlreadyRegistered.selector, id));
        registerTrack(artist, 1);
    }

    function test_anIdIsNotFreeAfterItWasSold() public {
        vm.prank(artist);
        registry.transferFrom(artist, listener, uint256(id));
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.AlreadyRegistered.selector, id));
        registerTrack(artist, 1);
    }

    function test_aRegistrationNeedsContentAndAFairRoyalty() public {
        TrackRegistry.Registration memory made = registration(2, oneSplit(artist));
        made.contentDigest = 0;
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.register(made);
        made.contentDigest = bytes32(uint256(1));
        made.royaltyBps = 5_001;
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.register(made);
        made.royaltyBps = 5_000;
        registry.register(made);
    }

    function test_aReleaseIsRegisteredWithItsTracksAtOnce() public {
        TrackRegistry.Registration[] memory all = new TrackRegistry.Registration[](3);
        for (uint256 i; i < all.length; ++i) {
            all[i] = registration(10 + i, threeSplits());
            if (i > 0) all[i].releaseId = registry.idOf(artist, all[0].salt);
        }
        vm.prank(artist);
        bytes32[] memory ids = registry.registerMany(all);
        assertEq(registry.balanceOf(artist), 4);
        assertEq(registry.releaseOf(ids[0]), 0);
        assertEq(registry.releaseOf(ids[1]), ids[0]);
        assertEq(registry.releaseOf(ids[2]), ids[0]);
    }

    function test_aBatchIsAllOrNothingAndBounded() public {
        TrackRegistry.Registration[] memory all = new TrackRegistry.Registration[](2);
        all[0] = registration(2, oneSplit(artist));
        all[1] = registration(1, oneSplit(artist));
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.AlreadyRegistered.selector, id));
        vm.prank(artist);
        registry.registerMany(all);
        assertEq(registry.balanceOf(artist), 1);
        vm.expectRevert(TrackRegistry.OutOfBounds.selector);
        registry.registerMany(new TrackRegistry.Registration[](65));
    }

    // Splits

    function rejectSplits(Split[] memory splits) private {
        TrackRegistry.Registration memory made = registration(7, splits);
        vm.expectRevert(Splits.InvalidSplits.selector);
        registry.register(made);
        vm.expectRevert(Splits.InvalidSplits.selector);
        vm.prank(artist);
        registry.setSplits(id, splits);
    }

    function manySplits(uint256 count) private pure returns (Split[] memory splits) {
        splits = new Split[](count);
        for (uint256 i; i < count; ++i) {
            splits[i] = Split(address(uint160(i + 1)), i == 0 ? uint16(10_000 - (count - 1) * 300) : 300);
        }
    }

    function test_splitsHaveOneToThirtyTwoAccounts() public {
        rejectSplits(new Split[](0));
        rejectSplits(manySplits(33));
        vm.prank(artist);
        registry.setSplits(id, manySplits(32));
    }

    function test_splitsAreSortedAndNameEverybodyOnce() public {
        Split[] memory splits = threeSplits();
        (splits[0], splits[1]) = (splits[1], splits[0]);
        rejectSplits(splits);
        splits = threeSplits();
        splits[1].account = splits[0].account;
        rejectSplits(splits);
    }

    function test_splitsNameSomebodyAndGiveSomething() public {
        Split[] memory splits = threeSplits();
        splits[0].account = address(0);
        rejectSplits(splits);
        splits = threeSplits();
        (splits[0].bps, splits[1].bps) = (9_000, 0);
        rejectSplits(splits);
    }

    function test_splitsAddUpToTheWhole(uint16 first) public {
        vm.assume(first != 7_000);
        Split[] memory splits = threeSplits();
        splits[0].bps = first;
        rejectSplits(splits);
    }

    function test_anArtistChangesSplits() public {
        vm.expectEmit(address(registry));
        emit TrackRegistry.SplitsChanged(id, keccak256(abi.encode(threeSplits())), threeSplits());
        vm.prank(artist);
        registry.setSplits(id, threeSplits());
        (bytes32 splitsHash, bool open) = registry.saleState(id);
        assertEq(splitsHash, keccak256(abi.encode(threeSplits())));
        assertTrue(open);
    }

    // Metadata

    function test_theTokensAddressIsTheManifestsCid() public {
        vm.prank(artist);
        registry.updateContent(id, hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assertEq(registry.tokenURI(uint256(id)), "ipfs://bafyreiaaaebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4");
    }

    function test_itSaysWhichInterfacesItHas() public view {
        assertTrue(registry.supportsInterface(0x01ffc9a7), "ERC-165");
        assertTrue(registry.supportsInterface(0x80ac58cd), "ERC-721");
        assertTrue(registry.supportsInterface(0x5b5e139f), "ERC-721 metadata");
        assertTrue(registry.supportsInterface(0x2a55205a), "ERC-2981");
        assertTrue(registry.supportsInterface(0x49064906), "ERC-4906");
        assertFalse(registry.supportsInterface(0xffffffff));
    }

    function test_aRegistryHasADao() public {
        assertEq(registry.dao(), dao);
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.NotAllowed.selector, address(0)));
        new TrackRegistry(address(0));
    }

    function test_noRightIsMadeForNobody() public {
        TrackRegistry.Registration memory made = registration(7, oneSplit(artist));
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        vm.prank(address(0));
        registry.register(made);
    }
}
