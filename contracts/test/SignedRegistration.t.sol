// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {LiarWallet, Wallet} from "./actors/Receivers.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";

/// @notice Registrations that an artist signs and somebody else pays for.
contract SignedRegistrationTest is Fixture {
    bytes32 private constant REGISTER = keccak256(
        "Register(address artist,bytes32 salt,bytes32 contentDigest,bytes32 releaseId,uint16 royaltyBps,bytes32 splitsHash,uint256 deadline)"
    );

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
}
