// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Fixture} from "./Fixture.sol";
import {LiarWallet, Wallet} from "./actors/Receivers.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {Split, Splits} from "../src/lib/Splits.sol";

/// @notice Who may register what, who may change it, and what can be read afterwards.
contract RegistryTest is Fixture {
    bytes32 private constant REGISTER = keccak256(
        "Register(address artist,bytes32 salt,bytes32 contentDigest,bytes32 releaseId,uint16 royaltyBps,bytes32 splitsHash,uint256 deadline)"
    );

    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
    }

    function refused(address who) private {
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.NotAllowed.selector, who));
        vm.prank(who);
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

    // Registration by signature

    function digestOf(address who, TrackRegistry.Registration memory made, uint256 deadline)
        private
        view
        returns (bytes32 digest)
    {
        (, string memory name, string memory version, uint256 chainId, address verifier,,) = registry.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                verifier
            )
        );
        bytes32 content = keccak256(
            abi.encode(
                REGISTER,
                who,
                made.salt,
                made.contentDigest,
                made.releaseId,
                made.royaltyBps,
                keccak256(abi.encode(made.splits)),
                deadline
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, content));
    }

    function signed(uint256 key, address who, TrackRegistry.Registration memory made, uint256 deadline)
        private
        view
        returns (bytes memory signature)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digestOf(who, made, deadline));
        return abi.encodePacked(r, s, v);
    }

    function test_theSigningDomainIsMarinaOnThisChain() public view {
        (, string memory name, string memory version, uint256 chainId, address verifier,,) = registry.eip712Domain();
        assertEq(name, "marina");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifier, address(registry));
    }

    function test_somebodyElsePaysForASignedRegistration() public {
        (address singer_, uint256 key) = makeAddrAndKey("signing singer");
        TrackRegistry.Registration memory made = registration(5, threeSplits());
        bytes memory signature = signed(key, singer_, made, block.timestamp);
        vm.prank(listener);
        bytes32 track = registry.registerFor(singer_, made, block.timestamp, signature);
        assertEq(track, registry.idOf(singer_, made.salt));
        assertEq(registry.ownerOf(uint256(track)), singer_);
        vm.expectRevert(abi.encodeWithSelector(TrackRegistry.AlreadyRegistered.selector, track));
        registry.registerFor(singer_, made, block.timestamp, signature);
    }

    function test_aSignedRegistrationEndsAtItsDeadline() public {
        (address singer_, uint256 key) = makeAddrAndKey("signing singer");
        TrackRegistry.Registration memory made = registration(5, threeSplits());
        uint256 deadline = block.timestamp;
        bytes memory signature = signed(key, singer_, made, deadline);
        vm.warp(deadline + 1);
        vm.expectRevert(TrackRegistry.InvalidSignature.selector);
        registry.registerFor(singer_, made, deadline, signature);
    }

    function test_aSignatureIsGoodForNothingElse(uint8 field, bytes32 other) public {
        (address singer_, uint256 key) = makeAddrAndKey("signing singer");
        TrackRegistry.Registration memory made = registration(5, threeSplits());
        uint256 deadline = block.timestamp + 1 hours;
        bytes memory signature = signed(key, singer_, made, deadline);
        field = uint8(bound(field, 0, 7));
        vm.assume(other != 0);
        if (field == 0) made.salt = made.salt ^ other;
        if (field == 1) made.contentDigest = made.contentDigest ^ other;
        if (field == 2) made.releaseId = other;
        if (field == 3) made.royaltyBps = uint16(bound(uint256(other), 801, 5_000));
        if (field == 4) made.splits = oneSplit(listener);
        if (field == 5) deadline += uint128(uint256(other) | 1);
        if (field == 6) singer_ = listener;
        if (field == 7) vm.chainId(999);
        vm.expectRevert(TrackRegistry.InvalidSignature.selector);
        registry.registerFor(singer_, made, deadline, signature);
    }

    function test_aSignatureOfNoAccountRegistersNothing() public {
        TrackRegistry.Registration memory made = registration(5, threeSplits());
        vm.expectRevert(TrackRegistry.InvalidSignature.selector);
        registry.registerFor(address(0), made, block.timestamp, new bytes(65));
        vm.expectRevert(TrackRegistry.InvalidSignature.selector);
        registry.registerFor(artist, made, block.timestamp, "");
    }

    function test_aWalletContractSignsByErc1271() public {
        (address signer, uint256 key) = makeAddrAndKey("signer");
        address wallet = address(new Wallet(signer));
        TrackRegistry.Registration memory made = registration(5, threeSplits());
        bytes memory signature = signed(key, wallet, made, block.timestamp);
        bytes32 track = registry.registerFor(wallet, made, block.timestamp, signature);
        assertEq(registry.ownerOf(uint256(track)), wallet);
    }

    function test_aWalletContractThatSaysNoIsBelieved() public {
        (, uint256 wrongKey) = makeAddrAndKey("wrong");
        address wallet = address(new Wallet(listener));
        TrackRegistry.Registration memory made = registration(5, threeSplits());
        bytes memory signature = signed(wrongKey, wallet, made, block.timestamp);
        vm.expectRevert(TrackRegistry.InvalidSignature.selector);
        registry.registerFor(wallet, made, block.timestamp, signature);
        address liar = address(new LiarWallet());
        vm.expectRevert(TrackRegistry.InvalidSignature.selector);
        registry.registerFor(liar, made, block.timestamp, signature);
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

    // Metadata

    function test_theTokensAddressIsTheManifestsCid() public {
        vm.prank(artist);
        registry.updateContent(id, hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assertEq(
            registry.tokenURI(uint256(id)), "ipfs://bafyreiaaaebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4"
        );
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
