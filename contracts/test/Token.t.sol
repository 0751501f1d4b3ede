// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Test} from "forge-std/Test.sol";
import {MarinaToken} from "../src/MarinaToken.sol";

contract TokenTest is Test {
    uint256 internal constant GENESIS = 1_000_000 ether;
    uint256 internal constant START = 1_800_000_000;

    address internal holder = makeAddr("holder");
    address internal minter = makeAddr("timelock");
    address internal other = makeAddr("other");
    MarinaToken internal token;

    function setUp() public {
        vm.warp(START);
        token = new MarinaToken(holder, minter);
    }

    function test_genesisGivesAMillionToOneHolder() public view {
        assertEq(token.name(), "Marina.Moda Token");
        assertEq(token.symbol(), "MMT");
        assertEq(token.decimals(), 18);
        assertEq(token.totalSupply(), GENESIS);
        assertEq(token.GENESIS_SUPPLY(), GENESIS);
        assertEq(token.balanceOf(holder), GENESIS);
        assertEq(token.minter(), minter);
        assertEq(token.windowStart(), START);
        assertEq(token.windowLeft(), 50_000 ether);
    }

    function test_aTokenNeedsAMinterAndAHolder() public {
        vm.expectRevert(MarinaToken.ZeroAddress.selector);
        new MarinaToken(holder, address(0));
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0)));
        new MarinaToken(address(0), minter);
    }

    function test_genesisTellsOfItsWindow() public {
        vm.expectEmit();
        emit MarinaToken.MintWindowOpened(uint64(START), 50_000 ether);
        new MarinaToken(holder, minter);
    }

    function testFuzz_nobodyButTheTimelockMints(address caller, uint256 amount) public {
        vm.assume(caller != minter);
        vm.prank(caller);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.NotMinter.selector, caller));
        token.mint(caller, amount);
    }

    function test_aWindowMintsFivePercentAndNotOneUnitMore() public {
        vm.startPrank(minter);
        token.mint(other, 20_000 ether);
        assertEq(token.windowLeft(), 30_000 ether);
        token.mint(other, 30_000 ether);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.MintCapExceeded.selector, 1, 0));
        token.mint(other, 1);
        assertEq(token.totalSupply(), 1_050_000 ether);
    }

    function test_aWindowEndsAfterExactly365Days() public {
        vm.startPrank(minter);
        token.mint(other, 50_000 ether);
        vm.warp(START + 365 days - 1);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.MintCapExceeded.selector, 1, 0));
        token.mint(other, 1);
        vm.warp(START + 365 days);
        vm.expectEmit(address(token));
        emit MarinaToken.MintWindowOpened(uint64(START + 365 days), 52_500 ether);
        token.mint(other, 52_500 ether);
        assertEq(token.windowLeft(), 0);
    }

    function test_windowsThatNobodyUsedDoNotAddUp() public {
        vm.warp(START + 3 * 365 days + 5 days);
        vm.startPrank(minter);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.MintCapExceeded.selector, 50_000 ether + 1, 50_000 ether));
        token.mint(other, 50_000 ether + 1);
        token.mint(other, 50_000 ether);
        // Windows stay aligned to the first one, whenever they are opened.
        assertEq(token.windowStart(), START + 3 * 365 days);
    }

    function test_burningGivesNoRoomForMinting() public {
        vm.prank(minter);
        token.mint(other, 50_000 ether);
        vm.prank(holder);
        token.burn(500_000 ether);
        vm.prank(minter);
        vm.expectRevert(abi.encodeWithSelector(MarinaToken.MintCapExceeded.selector, 1, 0));
        token.mint(other, 1);
        vm.warp(START + 365 days);
        vm.prank(minter);
        token.mint(other, 27_500 ether);
        assertEq(token.windowLeft(), 0, "the next window's room is a twentieth of what is left");
    }

    function testFuzz_mintingStaysBelowTheCapOverTheYears(uint256[8] memory amounts, uint64[8] memory waits) public {
        for (uint256 i; i < amounts.length; ++i) {
            skip(bound(waits[i], 0, 800 days));
            uint256 amount = bound(amounts[i], 0, token.totalSupply() / 8);
            vm.prank(minter);
            try token.mint(other, amount) {} catch {}
            uint256 cap = GENESIS;
            for (uint256 year; year <= (block.timestamp - START) / 365 days; ++year) {
                cap += cap / 20;
            }
            assertLe(token.totalSupply(), cap);
        }
    }

    function testFuzz_aHolderBurnsItsOwnAndWhatItWasAllowed(uint256 own, uint256 allowed) public {
        own = bound(own, 0, GENESIS / 2);
        allowed = bound(allowed, 0, GENESIS / 2);
        vm.startPrank(holder);
        token.burn(own);
        token.approve(other, allowed);
        vm.stopPrank();
        vm.startPrank(other);
        token.burnFrom(holder, allowed);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, other, 0, 1));
        token.burnFrom(holder, 1);
        assertEq(token.totalSupply(), GENESIS - own - allowed);
        assertEq(token.balanceOf(holder), GENESIS - own - allowed);
    }

    function testFuzz_aPermitIsGoodOnceAndForItsSignerOnly(uint128 seed, uint256 amount) public {
        uint256 key = uint256(seed) + 1;
        address signer = vm.addr(key);
        uint256 deadline = block.timestamp + 1;
        (uint8 v, bytes32 r, bytes32 s) = _permit(key, signer, amount, 0, deadline);
        token.permit(signer, other, amount, deadline, v, r, s);
        assertEq(token.allowance(signer, other), amount);
        assertEq(token.nonces(signer), 1);
        vm.expectPartialRevert(ERC20Permit.ERC2612InvalidSigner.selector);
        token.permit(signer, other, amount, deadline, v, r, s);
    }

    function test_anExpiredPermitIsRefused() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(7, vm.addr(7), 1, 0, START);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612ExpiredSignature.selector, START));
        token.permit(vm.addr(7), other, 1, START, v, r, s);
    }

    function test_votesAreCountedByTimeAndOnlyOnceDelegated() public {
        assertEq(token.CLOCK_MODE(), "mode=timestamp");
        assertEq(token.clock(), START);
        assertEq(token.getVotes(holder), 0);
        vm.prank(holder);
        token.delegate(other);
        assertEq(token.getVotes(other), GENESIS);
        vm.warp(START + 10);
        vm.prank(holder);
        token.transfer(makeAddr("third"), 400_000 ether);
        assertEq(token.getVotes(other), 600_000 ether);
        vm.warp(START + 11);
        assertEq(token.getPastVotes(other, START), GENESIS);
        assertEq(token.getPastVotes(other, START + 9), GENESIS);
        assertEq(token.getPastVotes(other, START + 10), 600_000 ether);
        assertEq(token.getPastTotalSupply(START + 10), GENESIS);
        vm.expectRevert(abi.encodeWithSelector(Votes.ERC5805FutureLookup.selector, START + 11, START + 11));
        token.getPastVotes(other, START + 11);
    }

    function test_aSignedDelegationIsGoodOnce() public {
        uint256 key = 77;
        address signer = vm.addr(key);
        vm.prank(holder);
        token.transfer(signer, 5 ether);
        bytes32 typehash = keccak256("Delegation(address delegatee,uint256 nonce,uint256 expiry)");
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, _digest(keccak256(abi.encode(typehash, other, uint256(0), START))));
        token.delegateBySig(other, 0, START, v, r, s);
        assertEq(token.getVotes(other), 5 ether);
        vm.expectPartialRevert(Nonces.InvalidAccountNonce.selector);
        token.delegateBySig(other, 0, START, v, r, s);
    }

    function _permit(uint256 key, address owner, uint256 amount, uint256 nonce, uint256 deadline)
        private
        view
        returns (uint8 v, bytes32 r, bytes32 s)
    {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        return vm.sign(key, _digest(keccak256(abi.encode(typehash, owner, other, amount, nonce, deadline))));
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash));
    }
}
