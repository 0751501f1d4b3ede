// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {GuardianRegistry} from "../src/GuardianRegistry.sol";
import {MarinaToken} from "../src/MarinaToken.sol";

/// @notice Accounts that come, go and are removed at random, some with the device of another.
contract GuardianHandler is Test {
    uint256 public constant ACCOUNTS = 8;
    uint256 public constant DEVICES = 6;

    GuardianRegistry public immutable guardians;
    MarinaToken public immutable token;
    address public immutable dao;
    uint256 public early;

    constructor(GuardianRegistry guardians_, MarinaToken token_, address dao_) {
        (guardians, token, dao) = (guardians_, token_, dao_);
    }

    function account(uint256 index) public pure returns (address) {
        return address(uint160(0xbeef00 + (index % ACCOUNTS)));
    }

    function device(uint256 index) public pure returns (bytes32) {
        return keccak256(abi.encode(index % DEVICES));
    }

    function register(uint256 who, uint256 peer, uint96 bond) external {
        address caller = account(who);
        bond = uint96(bound(bond, guardians.minBond(), 200 ether));
        if (token.balanceOf(caller) < bond) return;
        (address taken,) = guardians.guardianOfPeer(device(peer));
        bool mayNot = guardians.guardianOf(caller).peerKey != 0 || taken != address(0);
        vm.prank(caller);
        if (mayNot) vm.expectRevert();
        guardians.register(device(peer), keccak256("hpke"), bond, 1);
    }

    function addBond(uint256 who, uint96 amount) external {
        address caller = account(who);
        if (!guardians.isActive(caller)) return;
        amount = uint96(bound(amount, 0, token.balanceOf(caller)));
        vm.prank(caller);
        guardians.addBond(amount);
    }

    function leave(uint256 who, bool removed) external {
        address caller = account(who);
        if (!guardians.isActive(caller)) return;
        vm.prank(removed ? dao : caller);
        removed ? guardians.remove(caller) : guardians.unbond();
    }

    function withdraw(uint256 who) external {
        address caller = account(who);
        GuardianRegistry.Guardian memory found = guardians.guardianOf(caller);
        vm.prank(caller);
        try guardians.withdrawBond() {
            if (found.unlocksAt == 0 || found.unlocksAt > block.timestamp) early += 1;
        } catch {}
    }

    function setMinBond(uint96 minBond) external {
        vm.prank(dao);
        guardians.setMinBond(uint96(bound(minBond, 0, 200 ether)));
    }

    function wait(uint256 seconds_) external {
        skip(bound(seconds_, 1, 8 days));
    }
}

contract GuardianInvariantTest is Test {
    MarinaToken internal token;
    GuardianRegistry internal guardians;
    GuardianHandler internal handler;

    function setUp() public {
        vm.warp(1_800_000_000);
        address dao = makeAddr("dao");
        token = new MarinaToken(address(this), dao);
        guardians = new GuardianRegistry(token, dao);
        handler = new GuardianHandler(guardians, token, dao);
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            token.transfer(handler.account(i), 1_000 ether);
            vm.prank(handler.account(i));
            token.approve(address(guardians), type(uint256).max);
        }
        targetContract(address(handler));
    }

    function invariant_theRegistryHoldsExactlyTheBonds() public view {
        uint256 bonds;
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            address account = handler.account(i);
            uint256 bond = guardians.guardianOf(account).bond;
            assertEq(token.balanceOf(account) + bond, 1_000 ether, "nobody gains or loses");
            bonds += bond;
        }
        assertEq(token.balanceOf(address(guardians)), bonds);
    }

    function invariant_theListIsThoseWhoAreActiveEachOnce() public view {
        address[] memory listed = guardians.guardians(0, 256);
        assertEq(listed.length, guardians.guardianCount());
        uint256 active;
        for (uint256 i; i < handler.ACCOUNTS(); ++i) {
            address account = handler.account(i);
            uint256 places;
            for (uint256 j; j < listed.length; ++j) {
                if (listed[j] == account) places += 1;
            }
            assertEq(places, guardians.isActive(account) ? 1 : 0);
            active += places;
        }
        assertEq(active, listed.length);
    }

    function invariant_aDeviceAnswersForOneActiveGuardian() public view {
        for (uint256 i; i < handler.DEVICES(); ++i) {
            (address account, GuardianRegistry.Guardian memory found) = guardians.guardianOfPeer(handler.device(i));
            if (account == address(0)) continue;
            assertTrue(guardians.isActive(account));
            assertEq(found.peerKey, handler.device(i));
            assertEq(found.unlocksAt, 0);
        }
    }

    function invariant_noBondLeavesEarly() public view {
        assertEq(handler.early(), 0);
    }
}
