// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {stdError} from "forge-std/StdError.sol";
import {Fixture} from "./Fixture.sol";
import {TestToken} from "./tokens/TestToken.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {Split} from "../src/lib/Splits.sol";

/// @notice Which tokens are taken, and how money comes in.
contract LedgerTest is Fixture {
    address private constant COIN = address(0);

    bytes32 private id;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
    }

    function splits() private view returns (Split[] memory made) {
        return splitsOf(artist, 9_000, mixer);
    }

    function tipped(uint256 amount) private {
        vm.deal(listener, amount);
        vm.prank(listener);
        licensing.tip{value: amount}(id, 0, amount);
    }

    function waiting(Split[] memory list) private view returns (uint256 gross, uint256 fee) {
        return licensing.accrual(id, keccak256(abi.encode(list)), COIN);
    }

    // Tokens

    function test_theNativeCoinIsNumberZero() public view {
        (address token, bool allowed) = licensing.tokens(0);
        assertEq(token, COIN);
        assertTrue(allowed);
        assertEq(licensing.NATIVE(), 0);
        assertEq(licensing.tokenCount(), 2);
    }

    function test_aTokenKeepsItsNumberForEver() public {
        vm.startPrank(dao);
        vm.expectEmit(address(licensing));
        emit SplitLedger.TokenAllowed(address(dollars), dollarIndex, false);
        assertEq(licensing.setToken(address(dollars), false), dollarIndex);
        (address token, bool allowed) = licensing.tokens(dollarIndex);
        assertEq(token, address(dollars));
        assertFalse(allowed);
        assertEq(licensing.setToken(address(new TestToken()), true), dollarIndex + 1);
        assertEq(licensing.setToken(address(dollars), true), dollarIndex);
        (, allowed) = licensing.tokens(dollarIndex);
        assertTrue(allowed);
    }

    function test_onlyTheDaoLetsTokensIn() public {
        TestToken other = new TestToken();
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.NotAllowed.selector, artist));
        vm.prank(artist);
        licensing.setToken(address(other), true);
    }

    function test_aTokenIsAContractAndNotTheNativeCoin() public {
        vm.startPrank(dao);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, 0));
        licensing.setToken(COIN, false);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, uint256(uint160(artist))));
        licensing.setToken(artist, true);
    }

    function test_thereAreAtMost256Tokens() public {
        bytes memory code = address(dollars).code;
        vm.startPrank(dao);
        for (uint160 index = 2; index < 256; ++index) {
            vm.etch(address(0x10000 + index), code);
            assertEq(licensing.setToken(address(0x10000 + index), true), index);
        }
        vm.etch(address(0x20000), code);
        vm.expectRevert(SplitLedger.TooManyTokens.selector);
        licensing.setToken(address(0x20000), true);
        assertEq(licensing.setToken(address(0x10000 + 255), false), 255);
        assertEq(licensing.tokenCount(), licensing.TOKENS_MAX());
    }

    function test_anUnknownNumberIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, 2));
        licensing.tokens(2);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, 2));
        licensing.tip(id, 2, 1);
        vm.prank(dao);
        licensing.setToken(address(dollars), false);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.TokenNotAllowed.selector, dollarIndex));
        licensing.tip(id, dollarIndex, 1);
    }

    // Money in

    function test_aTipHasNoFee() public {
        vm.deal(listener, 1 ether);
        vm.expectEmit(address(licensing));
        emit MusicLicensing.Tipped(id, listener, COIN, 1 ether);
        vm.expectEmit(address(licensing));
        emit SplitLedger.Accrued(id, COIN, keccak256(abi.encode(splits())), 1 ether, 0);
        vm.prank(listener);
        licensing.tip{value: 1 ether}(id, 0, 1 ether);
        (uint256 gross, uint256 fee) = waiting(splits());
        assertEq(gross, 1 ether);
        assertEq(fee, 0);
    }

    function test_aTipInATokenIsTakenFromTheGiver() public {
        dollars.mint(listener, 7e6);
        vm.startPrank(listener);
        dollars.approve(address(licensing), 7e6);
        licensing.tip(id, dollarIndex, 7e6);
        assertEq(dollars.balanceOf(address(licensing)), 7e6);
        (uint128 gross,) = licensing.accrual(id, keccak256(abi.encode(splits())), address(dollars));
        assertEq(gross, 7e6);
    }

    function test_aTipIsSomethingForSomebody() public {
        vm.expectRevert(MusicLicensing.OutOfBounds.selector);
        licensing.tip(id, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NotForSale.selector, bytes32(uint256(1))));
        licensing.tip{value: 1}(bytes32(uint256(1)), 0, 1);
    }

    function test_aTipIsTakenWhileSalesAreStopped() public {
        vm.prank(artist);
        registry.setActive(id, false);
        tipped(1 ether);
        (uint256 gross,) = waiting(splits());
        assertEq(gross, 1 ether);
    }

    function test_aDepositHasTheFee() public {
        vm.deal(listener, 1 ether);
        vm.expectEmit(address(licensing));
        emit SplitLedger.Accrued(id, COIN, keccak256(abi.encode(splits())), 1 ether, 0.025 ether);
        vm.prank(listener);
        licensing.deposit{value: 1 ether}(id, 0, 1 ether);
        (uint256 gross, uint256 fee) = waiting(splits());
        assertEq(gross, 1 ether);
        assertEq(fee, 0.025 ether);
    }

    function test_aDepositIsForWhatIsSold() public {
        vm.prank(artist);
        registry.setActive(id, false);
        vm.expectRevert(abi.encodeWithSelector(MusicLicensing.NotForSale.selector, id));
        licensing.deposit(id, 0, 0);
    }

    function test_theNativeAmountIsExact(uint96 sent, uint96 said) public {
        vm.assume(sent != said && said != 0);
        vm.deal(listener, sent);
        vm.startPrank(listener);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, sent, said));
        licensing.tip{value: sent}(id, 0, said);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, sent, said));
        licensing.deposit{value: sent}(id, 0, said);
    }

    function test_coinsAreNotSentWithATokenPayment() public {
        dollars.mint(listener, 1e6);
        vm.deal(listener, 1);
        vm.startPrank(listener);
        dollars.approve(address(licensing), 1e6);
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.WrongPayment.selector, 1, 0));
        licensing.tip{value: 1}(id, dollarIndex, 1e6);
    }

    function test_anAmountThatDoesNotFitIsRefused() public {
        dollars.mint(listener, type(uint256).max);
        vm.startPrank(listener);
        dollars.approve(address(licensing), type(uint256).max);
        uint256 tooMuch = uint256(type(uint128).max) + 1;
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, tooMuch));
        licensing.tip(id, dollarIndex, tooMuch);
        vm.expectRevert(stdError.arithmeticError);
        licensing.deposit(id, dollarIndex, type(uint256).max);
        licensing.tip(id, dollarIndex, type(uint128).max);
    }

    function test_nobodySendsCoinsByMistake() public {
        vm.deal(listener, 1);
        vm.prank(listener);
        (bool taken,) = address(licensing).call{value: 1}("");
        assertFalse(taken);
    }
}
