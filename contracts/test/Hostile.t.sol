// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC1155Errors, IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Fixture} from "./Fixture.sol";
import {Attacker} from "./actors/Receivers.sol";
import {FalseToken, FeeToken, HookToken, LyingToken, RebasingToken, SilentToken} from "./tokens/HostileTokens.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";
import {SplitLedger} from "../src/SplitLedger.sol";
import {Split} from "../src/lib/Splits.sol";

/// @notice Tokens and receivers that do not behave, let in by a mistake of the DAO: nothing of anybody else's moves.
contract HostileTest is Fixture {
    address private constant COIN = address(0);
    bytes4 private constant REENTERED = ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector;

    bytes32 private id;
    uint16 private coinTerm;
    Attacker private attacker;

    function setUp() public override {
        super.setUp();
        id = registerTrack(artist, 1);
        vm.prank(artist);
        coinTerm = licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        attacker = new Attacker();
        // Somebody else's money, which everything below is after.
        buy(id, coinTerm, 1, singer, singer);
    }

    function letIn(address token) private returns (uint16 termId, uint8 index) {
        vm.prank(dao);
        index = licensing.setToken(token, true);
        vm.prank(artist);
        termId = licensing.addTerm(id, 1_000, 30 days, index, 1);
    }

    function approved(address token, address spender) private {
        vm.prank(listener);
        (bool done,) = token.call(abi.encodeCall(IERC20.approve, (spender, type(uint256).max)));
        assertTrue(done);
    }

    function splits() private view returns (Split[] memory made) {
        return splitsOf(artist, 9_000, mixer);
    }

    // Tokens that take a fee

    function test_aTokenThatTakesAFeePaysForNothing() public {
        FeeToken token = new FeeToken();
        (uint16 termId, uint8 index) = letIn(address(token));
        vm.prank(artist);
        uint256 edition = editions.createEdition(id, 5, 1_000, index);
        token.mint(listener, 10_000);
        approved(address(token), address(licensing));
        approved(address(token), address(editions));
        bytes memory reason = abi.encodeWithSelector(SplitLedger.ShortPayment.selector, 990, 1_000);
        vm.startPrank(listener);
        vm.expectRevert(reason);
        licensing.purchase(id, termId, 1, listener, 1_000);
        vm.expectRevert(reason);
        licensing.tip(id, index, 1_000);
        vm.expectRevert(reason);
        licensing.deposit(id, index, 1_000);
        MusicLicensing.Order[] memory orders = new MusicLicensing.Order[](1);
        orders[0] = MusicLicensing.Order(id, termId, 1, listener, 1_000);
        vm.expectRevert(reason);
        licensing.purchaseMany(orders);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, address(editions), 980, 990)
        );
        editions.buy(edition, 1, listener, 1_000);
        vm.stopPrank();
        // Not even with tokens of somebody who sent them to the editions by mistake.
        token.mint(address(editions), 1_000);
        vm.expectRevert(reason);
        vm.prank(listener);
        editions.buy(edition, 1, listener, 1_000);
        assertEq(token.balanceOf(address(licensing)), 0);
        assertFalse(licensing.isLicensed(id, listener, 1));
    }

    // Tokens that answer false, or nothing, or lie

    function test_aTokenThatAnswersFalsePaysForNothing() public {
        FalseToken token = new FalseToken();
        (uint16 termId, uint8 index) = letIn(address(token));
        vm.prank(artist);
        uint256 edition = editions.createEdition(id, 5, 1_000, index);
        approved(address(token), address(licensing));
        approved(address(token), address(editions));
        bytes memory reason = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token));
        vm.startPrank(listener);
        vm.expectRevert(reason);
        licensing.purchase(id, termId, 1, listener, 1_000);
        vm.expectRevert(reason);
        editions.buy(edition, 1, listener, 1_000);
    }

    function test_aTokenThatAnswersFalseStaysOwed() public {
        FalseToken token = new FalseToken();
        (uint16 termId,) = letIn(address(token));
        token.mint(listener, 1_000);
        approved(address(token), address(licensing));
        vm.prank(listener);
        licensing.purchase(id, termId, 1, listener, 1_000);
        licensing.settle(id, splits(), address(token));
        licensing.settle(id, splits(), COIN);
        token.setBroken(true);
        bytes memory reason = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token));
        vm.expectRevert(reason);
        licensing.withdraw(artist, address(token));
        address[] memory both = new address[](2);
        (both[0], both[1]) = (COIN, address(token));
        vm.expectRevert(reason);
        licensing.withdrawMany(artist, both);
        assertGt(licensing.withdraw(artist, COIN), 0);
        token.setBroken(false);
        assertEq(licensing.withdraw(artist, address(token)), 877);
    }

    function test_aTokenThatLiesPaysForNothing() public {
        LyingToken token = new LyingToken();
        (uint16 termId,) = letIn(address(token));
        vm.expectRevert(abi.encodeWithSelector(SplitLedger.ShortPayment.selector, 0, 1_000));
        vm.prank(listener);
        licensing.purchase(id, termId, 1, listener, 1_000);
    }

    function test_aTokenThatAnswersNothingWorks() public {
        SilentToken token = new SilentToken();
        (uint16 termId, uint8 index) = letIn(address(token));
        vm.prank(artist);
        uint256 edition = editions.createEdition(id, 5, 1_000, index);
        token.mint(listener, 3_000);
        approved(address(token), address(licensing));
        approved(address(token), address(editions));
        vm.startPrank(listener);
        licensing.purchase(id, termId, 1, listener, 1_000);
        editions.buy(edition, 1, listener, 1_000);
        editions.buy(edition, 1, listener, 1_000);
        vm.stopPrank();
        licensing.settle(id, splits(), address(token));
        licensing.withdraw(artist, address(token));
        licensing.withdraw(mixer, address(token));
        licensing.withdraw(dao, address(token));
        assertEq(token.balanceOf(address(licensing)), 1);
    }

    // Tokens whose balances change by themselves

    function test_aTokenThatShrinksHarmsOnlyThoseWhoAreOwedIt() public {
        RebasingToken token = new RebasingToken();
        (uint16 termId,) = letIn(address(token));
        token.mint(listener, 1_000);
        approved(address(token), address(licensing));
        vm.prank(listener);
        licensing.purchase(id, termId, 1, listener, 1_000);
        licensing.settle(id, splits(), address(token));
        licensing.settle(id, splits(), COIN);
        token.rebase(50);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, address(licensing), 1_000, 1_754)
        );
        licensing.withdraw(artist, address(token));
        assertEq(licensing.withdraw(mixer, address(token)), 97);
        assertEq(licensing.withdraw(artist, COIN), 0.8775 ether);
        token.rebase(100);
        // What the mixer took at half the worth is missing now, in this token alone.
        assertEq(licensing.owed(artist, address(token)), 877);
    }

    function test_aTokenThatGrowsLeavesTheGrowthBehind() public {
        RebasingToken token = new RebasingToken();
        (uint16 termId,) = letIn(address(token));
        token.mint(listener, 1_000);
        approved(address(token), address(licensing));
        vm.prank(listener);
        licensing.purchase(id, termId, 1, listener, 1_000);
        token.rebase(200);
        licensing.settle(id, splits(), address(token));
        uint256 paid = licensing.withdraw(artist, address(token)) + licensing.withdraw(mixer, address(token))
            + licensing.withdraw(dao, address(token));
        assertEq(paid, 999);
        assertApproxEqAbs(token.balanceOf(address(licensing)), 1_000, 4);
    }

    // Tokens that call back

    function hooked() private returns (HookToken token, uint16 termId, uint8 index) {
        token = new HookToken();
        (termId, index) = letIn(address(token));
        token.mint(address(attacker), 10_000);
        vm.deal(address(attacker), 10 ether);
        attacker.hook(token, address(licensing));
    }

    /// @notice Every function that moves money, as call data of an attack.
    function attacks(HookToken token, uint16 termId, uint8 index) private view returns (bytes[] memory calls) {
        MusicLicensing.Order memory order = MusicLicensing.Order(id, termId, 1, address(attacker), 1_000);
        MusicLicensing.Order[] memory orders = new MusicLicensing.Order[](1);
        orders[0] = order;
        calls = new bytes[](9);
        calls[0] = abi.encodeCall(licensing.purchase, (id, termId, 1, address(attacker), 1_000));
        calls[1] = abi.encodeCall(licensing.purchaseMany, (orders));
        calls[2] = abi.encodeCall(licensing.purchaseWithPermit, (order, 0, 0, 0, 0));
        calls[3] = abi.encodeCall(licensing.tip, (id, index, 1_000));
        calls[4] = abi.encodeCall(licensing.deposit, (id, index, 1_000));
        calls[5] = abi.encodeCall(licensing.settle, (id, splits(), address(token)));
        calls[6] = abi.encodeCall(licensing.withdraw, (artist, address(token)));
        calls[7] = abi.encodeCall(licensing.withdrawMany, (artist, new address[](1)));
        calls[8] = abi.encodeCall(licensing.revokeWithRefund, (licensing.licenceIdOf(id, coinTerm, singer)));
    }

    function test_nothingIsEnteredAgainDuringAPayment() public {
        (HookToken token, uint16 termId, uint8 index) = hooked();
        bytes[] memory calls = attacks(token, termId, index);
        for (uint256 i; i < calls.length; ++i) {
            attacker.prepare(address(licensing), 0, calls[i]);
            uint256 before = attacker.calls();
            attacker.act(
                address(licensing), 0, abi.encodeCall(licensing.purchase, (id, termId, 1, address(attacker), 1_000))
            );
            assertEq(attacker.calls(), before + 1);
            assertFalse(attacker.succeeded());
            assertEq(bytes4(attacker.answer()), REENTERED);
        }
        assertEq(token.balanceOf(address(licensing)), calls.length * 1_000);
        (uint128 gross,) = licensing.accrual(id, registry.splitsHashOf(id), address(token));
        assertEq(gross, calls.length * 1_000);
    }

    function test_nothingIsEnteredAgainDuringAWithdrawalOfATokenOrCoin() public {
        (HookToken token, uint16 termId, uint8 index) = hooked();
        vm.prank(artist);
        registry.setSplits(id, oneSplit(address(attacker)));
        bytes[] memory calls = attacks(token, termId, index);
        calls[6] = abi.encodeCall(licensing.withdraw, (address(attacker), address(token)));
        uint256 paid;
        for (uint256 i; i < calls.length; ++i) {
            attacker.prepare(address(0), 0, "");
            attacker.act(address(licensing), 0, abi.encodeCall(licensing.tip, (id, index, 1_000)));
            vm.deal(listener, 1_000);
            vm.prank(listener);
            licensing.tip{value: 1_000}(id, 0, 1_000);
            licensing.settle(id, oneSplit(address(attacker)), address(token));
            licensing.settle(id, oneSplit(address(attacker)), COIN);
            attacker.prepare(address(licensing), 0, calls[i]);
            paid += licensing.withdraw(address(attacker), address(token));
            assertEq(bytes4(attacker.answer()), REENTERED);
            paid += licensing.withdraw(address(attacker), COIN);
            assertEq(bytes4(attacker.answer()), REENTERED);
        }
        assertFalse(attacker.succeeded());
        assertEq(paid, calls.length * 2_000);
        assertEq(token.balanceOf(address(licensing)), 0);
        assertEq(address(licensing).balance, 1 ether, "what others paid");
    }

    function test_aPermitThatCallsBackPaysForNothing() public {
        (, uint16 termId,) = hooked();
        attacker.prepare(address(licensing), 0, abi.encodeCall(licensing.withdraw, (address(attacker), COIN)));
        MusicLicensing.Order memory order = MusicLicensing.Order(id, termId, 1, address(attacker), 1_000);
        attacker.act(address(licensing), 0, abi.encodeCall(licensing.purchaseWithPermit, (order, 0, 0, 0, 0)));
        assertEq(attacker.calls(), 2, "in the permit and in the transfer");
        assertFalse(attacker.succeeded());
    }

    function test_aBuyerWhoChangesSplitsDuringThePaymentMovesNothing() public {
        (HookToken token, uint16 termId,) = hooked();
        vm.prank(artist);
        registry.transferFrom(artist, address(attacker), uint256(id));
        attacker.prepare(address(registry), 0, abi.encodeCall(registry.setSplits, (id, oneSplit(address(attacker)))));
        bytes32 before = registry.splitsHashOf(id);
        attacker.act(
            address(licensing), 0, abi.encodeCall(licensing.purchase, (id, termId, 1, address(attacker), 1_000))
        );
        assertTrue(attacker.succeeded());
        (uint128 gross,) = licensing.accrual(id, before, address(token));
        assertEq(gross, 1_000);
        (gross,) = licensing.accrual(id, registry.splitsHashOf(id), address(token));
        assertEq(gross, 0);
    }

    function test_anOwnerWhoIsCalledBackDuringARefundGetsNothing() public {
        (HookToken token, uint16 termId,) = hooked();
        vm.prank(artist);
        registry.transferFrom(artist, address(attacker), uint256(id));
        token.mint(listener, 1_000);
        approved(address(token), address(licensing));
        vm.prank(listener);
        bytes32 made = licensing.purchase(id, termId, 1, listener, 1_000);
        attacker.prepare(address(licensing), 0, abi.encodeCall(licensing.withdraw, (listener, address(token))));
        attacker.act(address(licensing), 0, abi.encodeCall(licensing.revokeWithRefund, (made)));
        assertFalse(attacker.succeeded());
        assertEq(licensing.withdraw(listener, address(token)), 1_000);
        assertEq(token.balanceOf(address(licensing)), 1_000);
    }

    // Editions that arrive

    function test_anEditionThatArrivesBuysNoMoreThanTheCap() public {
        vm.prank(artist);
        uint256 edition = editions.createEdition(id, 3, 1 ether, 0);
        vm.deal(address(attacker), 3 ether);
        bytes memory again = abi.encodeCall(editions.buy, (edition, 1, address(attacker), 1 ether));
        attacker.prepare(address(editions), 1 ether, again);
        attacker.act(address(editions), 1 ether, abi.encodeCall(editions.buy, (edition, 1, address(attacker), 1 ether)));
        assertEq(attacker.calls(), 1);
        assertFalse(attacker.succeeded());
        assertEq(bytes4(attacker.answer()), REENTERED);
        assertEq(editions.edition(edition).minted, 1);
    }

    function test_aGivenEditionThatArrivesGivesNoMore() public {
        vm.prank(artist);
        registry.transferFrom(artist, address(attacker), uint256(id));
        bytes memory give;
        attacker.act(address(editions), 0, abi.encodeCall(editions.createEdition, (id, 3, 0, 0)));
        give = abi.encodeCall(editions.mint, (1, address(attacker), 1));
        attacker.prepare(address(editions), 0, give);
        attacker.act(address(editions), 0, give);
        assertFalse(attacker.succeeded());
        assertEq(editions.edition(1).minted, 1);
    }

    function test_anEditionInATokenThatCallsBackIsPaidOnce() public {
        (HookToken token,, uint8 index) = hooked();
        attacker.hook(token, address(editions));
        vm.prank(artist);
        uint256 edition = editions.createEdition(id, 3, 1_000, index);
        bytes memory purchase = abi.encodeCall(editions.buy, (edition, 1, address(attacker), 1_000));
        attacker.prepare(address(editions), 0, purchase);
        attacker.act(address(editions), 0, purchase);
        assertFalse(attacker.succeeded());
        assertEq(editions.balanceOf(address(attacker), edition), 1);
        assertEq(token.balanceOf(address(licensing)), 1_000);
        assertEq(token.balanceOf(address(editions)), 0);
    }

    function test_aReceiverThatTakesNoEditionsUndoesThePayment() public {
        vm.prank(artist);
        uint256 edition = editions.createEdition(id, 3, 1 ether, 0);
        vm.deal(listener, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(licensing)));
        vm.prank(listener);
        editions.buy{value: 1 ether}(edition, 1, address(licensing), 1 ether);
        assertEq(editions.edition(edition).minted, 0);
        assertEq(listener.balance, 1 ether);
    }
}
