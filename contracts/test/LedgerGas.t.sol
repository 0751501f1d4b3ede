// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {MusicLicensing} from "../src/MusicLicensing.sol";

/// @notice What everything around a sale costs: prices, gifts of money, editions, divisions and withdrawals.
/// forge-config: default.isolate = true
contract LedgerGasTest is Fixture {
    bytes32 private id;
    uint256 private edition;

    function setUp() public override {
        super.setUp();
        vm.startPrank(artist);
        id = registry.register(registration(1, threeSplits()));
        licensing.addTerm(id, 1 ether, 30 days, 0, 1);
        edition = editions.createEdition(id, 100, 1 ether, 0);
        vm.stopPrank();
        vm.deal(listener, 100 ether);
        buy(id, 0, 1, address(0xb0b), address(0xb0b));
    }

    function settle() private {
        licensing.settle(id, threeSplits(), address(0));
    }

    function test_gasOfATerm() public {
        vm.prank(artist);
        licensing.addTerm(id, 2 ether, 30 days, 0, 1);
        assertLe(vm.snapshotGasLastCall("add a term"), 80_000);
    }

    function test_gasOfTheSeedsPurchase() public {
        (string memory text,,,,,) = licensing.licenses(licensing.licenceIdOf(id, 0, address(0xb0b)));
        vm.prank(listener);
        licensing.createLicense{value: 1 ether}(text, 30 days);
        assertLe(vm.snapshotGasLastCall("createLicense"), 130_000);
    }

    function test_gasOfTenPurchasesAtOnce() public {
        MusicLicensing.Order[] memory orders = new MusicLicensing.Order[](10);
        for (uint256 i; i < 10; ++i) {
            orders[i] = MusicLicensing.Order(id, 0, 1, address(uint160(0x5000 + i)), 1 ether);
        }
        vm.prank(listener);
        licensing.purchaseMany{value: 10 ether}(orders);
        assertLe(vm.snapshotGasLastCall("ten gifts at once"), 700_000);
    }

    function test_gasOfATip() public {
        vm.prank(listener);
        licensing.tip{value: 1 ether}(id, 0, 1 ether);
        assertLe(vm.snapshotGasLastCall("tip"), 50_000);
    }

    function test_gasOfAnEdition() public {
        vm.prank(listener);
        editions.buy{value: 1 ether}(edition, 1, listener, 1 ether);
        assertLe(vm.snapshotGasLastCall("buy an edition"), 115_000);
    }

    function test_gasOfDividing() public {
        settle();
        assertLe(vm.snapshotGasLastCall("settle, 3 splits, first"), 190_000);
        buy(id, 0, 1, listener, listener);
        settle();
        assertLe(vm.snapshotGasLastCall("settle, 3 splits, steady"), 115_000);
        settle();
        assertLe(vm.snapshotGasLastCall("settle, nothing to divide"), 50_000);
    }

    function test_gasOfWithdrawing() public {
        settle();
        address account = threeSplits()[0].account;
        licensing.withdraw(account, address(0));
        assertLe(vm.snapshotGasLastCall("withdraw native, first"), 65_000);
        buy(id, 0, 1, listener, listener);
        settle();
        licensing.withdraw(account, address(0));
        assertLe(vm.snapshotGasLastCall("withdraw native"), 45_000);
    }
}
