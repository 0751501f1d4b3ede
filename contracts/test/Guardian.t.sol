// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Test, stdError} from "forge-std/Test.sol";
import {GuardianRegistry} from "../src/GuardianRegistry.sol";
import {MarinaToken} from "../src/MarinaToken.sol";

contract GuardianTest is Test {
    uint256 internal constant START = 1_800_000_000;
    bytes32 internal constant PEER = keccak256("peer");
    bytes32 internal constant HPKE = keccak256("hpke");

    address internal dao = makeAddr("dao");
    address internal holder = makeAddr("holder");
    address internal one = makeAddr("one");
    address internal two = makeAddr("two");
    MarinaToken internal token;
    GuardianRegistry internal guardians;

    function setUp() public {
        vm.warp(START);
        token = new MarinaToken(holder, dao);
        guardians = new GuardianRegistry(token, dao);
        _equip(one);
        _equip(two);
    }

    function test_theNumbersOfTheBeginning() public {
        assertEq(address(guardians.token()), address(token));
        assertEq(guardians.dao(), dao);
        assertEq(guardians.minBond(), 100 ether);
        assertEq(guardians.guardianCount(), 0);
        vm.expectEmit();
        emit GuardianRegistry.MinBondChanged(100 ether);
        new GuardianRegistry(token, dao);
    }

    function test_aRegistryNeedsATokenAndADao() public {
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        new GuardianRegistry(IERC20(makeAddr("no code")), dao);
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        new GuardianRegistry(token, address(0));
    }

    function test_aGuardianIsFoundByItsAccountAndByItsDevice() public {
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.GuardianRegistered(one, PEER, HPKE, 150 ether, 2 ether);
        _register(one, PEER, 150 ether);
        GuardianRegistry.Guardian memory found = guardians.guardianOf(one);
        assertEq(found.peerKey, PEER);
        assertEq(found.hpkeKey, HPKE);
        assertEq(found.bond, 150 ether);
        assertEq(found.feePerRelease, 2 ether);
        assertEq(found.activeAt, START);
        assertEq(found.unlocksAt, 0);
        (address account, GuardianRegistry.Guardian memory same) = guardians.guardianOfPeer(PEER);
        assertEq(account, one);
        assertEq(keccak256(abi.encode(same)), keccak256(abi.encode(found)));
        assertTrue(guardians.isActive(one));
        assertEq(guardians.guardianCount(), 1);
        assertEq(token.balanceOf(address(guardians)), 150 ether);
    }

    function test_whoIsNoGuardianIsFoundNowhere() public view {
        (address account, GuardianRegistry.Guardian memory found) = guardians.guardianOfPeer(PEER);
        assertEq(account, address(0));
        assertEq(found.peerKey, 0);
        assertEq(guardians.guardianOf(one).peerKey, 0);
        assertFalse(guardians.isActive(one));
    }

    function test_theBondMustBeAsLargeAsTheDaoAsks() public {
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.BondTooSmall.selector, 100 ether - 1, 100 ether));
        _register(one, PEER, 100 ether - 1);
        _register(one, PEER, 100 ether);
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.MinBondChanged(200 ether);
        vm.prank(dao);
        guardians.setMinBond(200 ether);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.BondTooSmall.selector, 199 ether, 200 ether));
        _register(two, keccak256("other"), 199 ether);
        assertTrue(guardians.isActive(one), "who has been a guardian before stays one");
    }

    function test_aGuardianWithoutKeysIsRefused() public {
        vm.startPrank(one);
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        guardians.register(0, HPKE, 100 ether, 0);
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        guardians.register(PEER, 0, 100 ether, 0);
    }

    function test_aBondWithoutAllowanceIsRefused() public {
        vm.startPrank(one);
        token.approve(address(guardians), 100 ether - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(guardians), 100 ether - 1, 100 ether
            )
        );
        guardians.register(PEER, HPKE, 100 ether, 0);
        assertFalse(guardians.isActive(one));
    }

    function test_anAccountAndADeviceAreOneGuardianOnly() public {
        _register(one, PEER, 100 ether);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.AlreadyGuardian.selector, one));
        _register(one, keccak256("second"), 100 ether);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.PeerTaken.selector, PEER));
        _register(two, PEER, 100 ether);
    }

    function test_keysAndFeesChange() public {
        _register(one, PEER, 100 ether);
        vm.warp(START + 5);
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.GuardianUpdated(one, keccak256("new"), 7 ether);
        vm.startPrank(one);
        guardians.update(keccak256("new"), 7 ether);
        assertEq(guardians.guardianOf(one).hpkeKey, keccak256("new"));
        assertEq(guardians.guardianOf(one).feePerRelease, 7 ether);
        assertEq(guardians.guardianOf(one).activeAt, START + 5);
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        guardians.update(0, 7 ether);
    }

    function test_aBondGrows() public {
        _register(one, PEER, 100 ether);
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.BondAdded(one, 130 ether);
        vm.startPrank(one);
        guardians.addBond(30 ether);
        assertEq(guardians.guardianOf(one).bond, 130 ether);
        assertEq(token.balanceOf(address(guardians)), 130 ether);
        vm.expectRevert(stdError.arithmeticError);
        guardians.addBond(type(uint96).max);
    }

    function test_aSignOfLifeIsKept() public {
        _register(one, PEER, 100 ether);
        vm.warp(START + 3 days);
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.GuardianActive(one, uint40(START + 3 days));
        vm.prank(one);
        guardians.beat();
        assertEq(guardians.guardianOf(one).activeAt, START + 3 days);
    }

    function test_whoIsNoGuardianCanDoNothing() public {
        bytes memory refusal = abi.encodeWithSelector(GuardianRegistry.NotGuardian.selector, one);
        vm.startPrank(one);
        vm.expectRevert(refusal);
        guardians.update(HPKE, 0);
        vm.expectRevert(refusal);
        guardians.addBond(1);
        vm.expectRevert(refusal);
        guardians.beat();
        vm.expectRevert(refusal);
        guardians.unbond();
        vm.expectRevert(refusal);
        guardians.withdrawBond();
    }

    function test_aBondComesBackFourteenDaysAfterLeavingAndOnce() public {
        _register(one, PEER, 100 ether);
        vm.startPrank(one);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.BondLocked.selector, 0));
        guardians.withdrawBond();
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.GuardianLeft(one, uint40(START + 14 days), false);
        guardians.unbond();
        assertFalse(guardians.isActive(one));
        assertEq(guardians.guardianCount(), 0);
        assertEq(guardians.guardianOf(one).unlocksAt, START + 14 days);
        vm.warp(START + 14 days - 1);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.BondLocked.selector, START + 14 days));
        guardians.withdrawBond();
        vm.warp(START + 14 days);
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.BondWithdrawn(one, 100 ether);
        assertEq(guardians.withdrawBond(), 100 ether);
        assertEq(token.balanceOf(one), 1_000 ether);
        assertEq(guardians.guardianOf(one).peerKey, 0);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.NotGuardian.selector, one));
        guardians.withdrawBond();
    }

    function test_whoHasLeftDoesNothingUntilTheBondIsBack() public {
        _register(one, PEER, 100 ether);
        vm.prank(one);
        guardians.unbond();
        bytes memory refusal = abi.encodeWithSelector(GuardianRegistry.NotGuardian.selector, one);
        vm.startPrank(one);
        vm.expectRevert(refusal);
        guardians.unbond();
        vm.expectRevert(refusal);
        guardians.addBond(1);
        vm.expectRevert(refusal);
        guardians.beat();
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.AlreadyGuardian.selector, one));
        guardians.register(PEER, HPKE, 100 ether, 0);
        vm.stopPrank();
        // The device is free at once: it may be another account's now.
        _register(two, PEER, 100 ether);
        skip(14 days);
        vm.startPrank(one);
        guardians.withdrawBond();
        guardians.register(keccak256("new device"), HPKE, 100 ether, 0);
        assertEq(guardians.guardianCount(), 2);
        (address account,) = guardians.guardianOfPeer(PEER);
        assertEq(account, two);
    }

    function test_theDaoRemovesAGuardianAndTakesNothing() public {
        _register(one, PEER, 100 ether);
        vm.expectEmit(address(guardians));
        emit GuardianRegistry.GuardianLeft(one, uint40(START + 14 days), true);
        vm.startPrank(dao);
        guardians.remove(one);
        vm.expectRevert(abi.encodeWithSelector(GuardianRegistry.NotGuardian.selector, one));
        guardians.remove(one);
        vm.stopPrank();
        skip(14 days);
        vm.prank(one);
        assertEq(guardians.withdrawBond(), 100 ether);
        assertEq(token.balanceOf(one), 1_000 ether);
    }

    function testFuzz_nobodyButTheDaoRemovesOrSetsBonds(address caller) public {
        vm.assume(caller != dao);
        _register(one, PEER, 100 ether);
        bytes memory refusal = abi.encodeWithSelector(GuardianRegistry.NotAllowed.selector, caller);
        vm.startPrank(caller);
        vm.expectRevert(refusal);
        guardians.remove(one);
        vm.expectRevert(refusal);
        guardians.setMinBond(0);
    }

    function testFuzz_aListIsReadInPages(uint8 count, uint8 offset, uint16 limit) public {
        count = uint8(bound(count, 0, 40));
        limit = uint16(bound(limit, 0, 256));
        for (uint256 i; i < count; ++i) {
            address who = address(uint160(0x1000 + i));
            _equip(who);
            _register(who, keccak256(abi.encode(i)), 100 ether);
        }
        address[] memory page = guardians.guardians(offset, limit);
        uint256 rest = offset < count ? count - offset : 0;
        assertEq(page.length, rest < limit ? rest : limit);
        for (uint256 i; i < page.length; ++i) {
            assertEq(page[i], address(uint160(0x1000 + offset + i)));
        }
    }

    function test_aPageHas256PlacesAtMost() public {
        assertEq(guardians.guardians(0, 256).length, 0);
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        guardians.guardians(0, 257);
        vm.expectRevert(GuardianRegistry.OutOfBounds.selector);
        guardians.guardians(type(uint256).max, type(uint256).max);
        assertEq(guardians.guardians(type(uint256).max, 1).length, 0);
    }

    function testFuzz_whoeverLeavesTheOthersStayListed(uint256 seed) public {
        address[8] memory all;
        for (uint256 i; i < 8; ++i) {
            all[i] = address(uint160(0x1000 + i));
            _equip(all[i]);
            _register(all[i], keccak256(abi.encode(i)), 100 ether);
        }
        for (uint256 left = 8; left > 0; --left) {
            uint256 chosen = seed % left;
            seed = uint256(keccak256(abi.encode(seed)));
            vm.prank(all[chosen]);
            guardians.unbond();
            all[chosen] = all[left - 1];
            assertEq(guardians.guardianCount(), left - 1);
            address[] memory page = guardians.guardians(0, 256);
            for (uint256 i; i < left - 1; ++i) {
                assertTrue(guardians.isActive(all[i]));
                assertTrue(_contains(page, all[i]));
            }
        }
    }

    function _equip(address who) private {
        vm.prank(holder);
        token.transfer(who, 1_000 ether);
        vm.prank(who);
        token.approve(address(guardians), type(uint256).max);
    }

    function _register(address who, bytes32 peer, uint96 bond) private {
        vm.prank(who);
        guardians.register(peer, HPKE, bond, 2 ether);
    }

    function _contains(address[] memory list, address wanted) private pure returns (bool found) {
        for (uint256 i; i < list.length; ++i) {
            if (list[i] == wanted) return true;
        }
    }
}
