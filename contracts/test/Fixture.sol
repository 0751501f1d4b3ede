// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Test} from "forge-std/Test.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {TrackEditions} from "../src/TrackEditions.sol";
import {TrackRegistry} from "../src/TrackRegistry.sol";
import {Split} from "../src/lib/Splits.sol";
import {TestToken} from "./tokens/TestToken.sol";

/// @notice A registry, licensing and editions under a DAO that is one address, and the people who use them.
abstract contract Fixture is Test {
    address internal dao = makeAddr("dao");
    address internal artist = makeAddr("artist");
    address internal mixer = makeAddr("mixer");
    address internal singer = makeAddr("singer");
    address internal listener = makeAddr("listener");

    TrackRegistry internal registry;
    MusicLicensing internal licensing;
    TrackEditions internal editions;
    TestToken internal dollars;
    uint8 internal dollarIndex;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        registry = new TrackRegistry(dao);
        licensing = new MusicLicensing(registry, dao);
        editions = new TrackEditions(registry, licensing);
        dollars = new TestToken();
        vm.prank(dao);
        dollarIndex = licensing.setToken(address(dollars), true);
    }

    function oneSplit(address account) internal pure returns (Split[] memory splits) {
        splits = new Split[](1);
        splits[0] = Split(account, 10_000);
    }

    function splitsOf(address one, uint16 bps, address other) internal pure returns (Split[] memory splits) {
        splits = new Split[](2);
        (splits[0], splits[1]) =
            one < other ? (Split(one, bps), Split(other, 10_000 - bps)) : (Split(other, 10_000 - bps), Split(one, bps));
    }

    function threeSplits() internal pure returns (Split[] memory splits) {
        splits = new Split[](3);
        splits[0] = Split(address(0x1111111111111111111111111111111111111111), 7_000);
        splits[1] = Split(address(0x2222222222222222222222222222222222222222), 2_000);
        splits[2] = Split(address(0x3333333333333333333333333333333333333333), 1_000);
    }

    function registration(uint256 salt, Split[] memory splits)
        internal
        pure
        returns (TrackRegistry.Registration memory made)
    {
        return TrackRegistry.Registration(
            keccak256(abi.encode("salt", salt)), keccak256(abi.encode("content", salt)), 0, 800, splits
        );
    }

    function registerTrack(address who, uint256 salt) internal returns (bytes32 id) {
        vm.prank(who);
        return registry.register(registration(salt, splitsOf(artist, 9_000, mixer)));
    }

    function buy(bytes32 id, uint16 termId, uint16 periods, address payer, address licensee)
        internal
        returns (bytes32 licenceId)
    {
        uint256 price = uint256(licensing.term(id, termId).price) * periods;
        vm.deal(payer, payer.balance + price);
        vm.prank(payer);
        return licensing.purchase{value: price}(id, termId, periods, licensee, price);
    }

    function signPermit(uint256 key, address owner, uint256 value, uint256 deadline)
        internal
        view
        returns (uint8 v, bytes32 r, bytes32 s)
    {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 digest = keccak256(
            abi.encodePacked(
                "\x19\x01",
                dollars.DOMAIN_SEPARATOR(),
                keccak256(abi.encode(typehash, owner, address(licensing), value, dollars.nonces(owner), deadline))
            )
        );
        return vm.sign(key, digest);
    }
}
