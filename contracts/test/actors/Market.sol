// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {TestToken} from "../tokens/TestToken.sol";
import {MusicLicensing} from "../../src/MusicLicensing.sol";
import {TrackEditions} from "../../src/TrackEditions.sol";
import {TrackRegistry} from "../../src/TrackRegistry.sol";
import {Split} from "../../src/lib/Splits.sol";

/// @notice Artists, listeners, strangers and the DAO, who do anything that they may in any order, and keep books of it.
contract Market is Test {
    uint256 public constant PEOPLE = 6;
    uint256 public constant TRACKS = 3;
    uint256 public constant LISTS = 4;
    uint256 public constant EDITIONS = 3;

    TrackRegistry public immutable registry;
    MusicLicensing public immutable licensing;
    TrackEditions public immutable editions;
    TestToken public immutable dollars;
    address public immutable dao;

    address[PEOPLE] public people;
    bytes32[TRACKS] public ids;
    uint256[EDITIONS] public numbers;

    /// @notice What came in and went out, by token.
    mapping(address token => uint256) public cameIn;
    mapping(address token => uint256) public wentOut;

    /// @notice What each list of each track must yield in the end: nothing but its own sales adds to it.
    mapping(bytes32 key => uint256) public earned;

    /// @notice Every list of splits that there ever is, each once.
    uint256[] public lists;
    mapping(uint256 which => bytes32) public hashes;
    mapping(bytes32 splitsHash => bool) private _isListed;

    /// @notice The latest end that a licence had, and 0 when it was revoked.
    mapping(bytes32 licenceId => uint64) public ends;
    bytes32[] public licences;
    mapping(bytes32 licenceId => bool) private _isKnown;

    /// @notice Set when something that must always work did not, or something impossible was possible.
    string public fault;

    /// @notice What an account must have been owed besides its shares: refunds, surpluses, and the DAO its fees.
    mapping(address account => mapping(address token => uint256)) public besides;

    /// @notice What an account was paid.
    mapping(address account => mapping(address token => uint256)) public paidTo;

    constructor(
        TrackRegistry registry_,
        MusicLicensing licensing_,
        TrackEditions editions_,
        TestToken dollars_,
        uint8 dollarIndex
    ) {
        (registry, licensing, editions, dollars) = (registry_, licensing_, editions_, dollars_);
        dao = licensing_.dao();
        for (uint256 i; i < PEOPLE; ++i) {
            people[i] = makeAddr(string(abi.encodePacked("person ", bytes1(uint8(65 + i)))));
        }
        for (uint256 which; which < PEOPLE * LISTS; ++which) {
            bytes32 splitsHash = keccak256(abi.encode(list(which)));
            if (_isListed[splitsHash]) continue;
            _isListed[splitsHash] = true;
            hashes[lists.length] = splitsHash;
            lists.push(which);
        }
        for (uint256 i; i < TRACKS; ++i) {
            vm.startPrank(people[i]);
            ids[i] = registry.register(
                TrackRegistry.Registration(bytes32(i), bytes32(i + 1), i == 2 ? ids[0] : bytes32(0), 500, list(i))
            );
            licensing.addTerm(ids[i], uint96(1 ether + i), 30 days, 0, 1);
            licensing.addTerm(ids[i], 3 ether + 7, 0, 0, 2);
            licensing.addTerm(ids[i], 5_000_003, 7 days, dollarIndex, 1);
            numbers[i] = editions.createEdition(ids[i], uint32(5 + i), 0.1 ether + 1, i == 1 ? dollarIndex : 0);
            vm.stopPrank();
        }
    }

    /// @notice Some lists of splits, with parts that do not divide evenly.
    function list(uint256 which) public view returns (Split[] memory made) {
        uint256 count = 1 + which % LISTS;
        address[] memory sorted = new address[](count);
        for (uint256 i; i < count; ++i) {
            address next = people[(which + i) % PEOPLE];
            uint256 at = i;
            for (; at > 0 && sorted[at - 1] > next; --at) {
                sorted[at] = sorted[at - 1];
            }
            sorted[at] = next;
        }
        made = new Split[](count);
        uint16 left = 10_000;
        for (uint256 i; i < count; ++i) {
            uint16 part = i == count - 1 ? left : left / 3;
            made[i] = Split(sorted[i], part);
            left -= part;
        }
    }

    function key(bytes32 id, bytes32 splitsHash, address token) public pure returns (bytes32 made) {
        return keccak256(abi.encode(id, splitsHash, token));
    }

    function listCount() external view returns (uint256 count) {
        return lists.length;
    }

    function licenceCount() external view returns (uint256 count) {
        return licences.length;
    }

    /// @notice Everything that the ledger owes in a token: waiting and credited.
    function liabilities(address token) external view returns (uint256 sum) {
        for (uint256 i; i < PEOPLE; ++i) {
            sum += licensing.owed(people[i], token);
        }
        sum += licensing.owed(dao, token);
        uint256 count = lists.length;
        for (uint256 which; which < count; ++which) {
            bytes32 splitsHash = hashes[which];
            for (uint256 track; track < TRACKS; ++track) {
                (uint128 gross,) = licensing.accrual(ids[track], splitsHash, token);
                sum += gross;
            }
        }
    }

    /// @notice What an account must get of all sales: its part of what was earned under each list that names it.
    function sharesOf(address account, address token) external view returns (uint256 sum) {
        uint256 count = lists.length;
        for (uint256 which; which < count; ++which) {
            Split[] memory splits = list(lists[which]);
            for (uint256 i; i < splits.length; ++i) {
                if (splits[i].account != account) continue;
                for (uint256 track; track < TRACKS; ++track) {
                    sum += (earned[key(ids[track], hashes[which], token)] * splits[i].bps) / 10_000;
                }
            }
        }
    }

    function purchase(uint256 payer, uint256 track, uint16 termId, uint16 periods, uint256 licensee) external {
        (bytes32 id, address who) = (ids[track % TRACKS], people[payer % PEOPLE]);
        termId = uint16(bound(termId, 0, 2));
        periods = termId == 1 ? 1 : uint16(bound(periods, 1, 24));
        MusicLicensing.Term memory term = licensing.term(id, termId);
        uint256 price = uint256(term.price) * periods;
        (address token,) = licensing.tokens(term.token);
        _fund(who, token, price);
        address to = people[licensee % PEOPLE];
        bytes32 licenceId = licensing.licenceIdOf(id, termId, to);
        vm.prank(who);
        try licensing.purchase{value: token == address(0) ? price : 0}(id, termId, periods, to, price) {
            _took(id, token, price, (price * licensing.feeBps()) / 10_000);
            if (!_isKnown[licenceId]) licences.push(licenceId);
            _isKnown[licenceId] = true;
            uint64 end = licensing.expiresAt(licenceId);
            if (end <= block.timestamp || end < ends[licenceId]) fault = "a purchase shortened a licence";
            ends[licenceId] = end;
        } catch {
            if (_isOpen(id) && !_isPaused() && termId != 1 && term.enabled) fault = "a sound purchase failed";
        }
    }

    function revoke(uint256 which, uint256 surplus) external {
        if (licences.length == 0) return;
        bytes32 licenceId = licences[which % licences.length];
        if (licensing.expiresAt(licenceId) <= block.timestamp) return;
        MusicLicensing.Licence memory found = licensing.licence(licenceId);
        address owner = registry.ownerOf(uint256(found.id));
        (uint256 refund, address token) = licensing.refundOf(licenceId);
        MusicLicensing.Term memory term = licensing.term(found.id, found.termId);
        uint256 duration = found.duration;
        if (term.periodSeconds == 0) {
            if (refund != term.price) fault = "a licence without end is paid back whole";
        } else {
            uint256 left = found.startedAt + duration - block.timestamp;
            uint256 paid = term.price * (duration / term.periodSeconds);
            if (refund * duration < paid * left) fault = "a refund is less than what is not used";
        }
        (address agreed,) = licensing.tokens(term.token);
        if (agreed != token) fault = "a refund is in another token";
        surplus = token == address(0) ? bound(surplus, 0, 1 ether) : 0;
        _fund(owner, token, refund + surplus);
        uint256 before = licensing.owed(found.licensee, token);
        vm.prank(owner);
        try licensing.revokeWithRefund{value: token == address(0) ? refund + surplus : 0}(licenceId) {
            cameIn[token] += refund + surplus;
            uint256 credited = licensing.owed(found.licensee, token) - before;
            if (credited != refund + (owner == found.licensee ? surplus : 0)) fault = "a refund was not credited";
            besides[found.licensee][token] += refund;
            besides[owner][token] += surplus;
            ends[licenceId] = 0;
        } catch {
            fault = "an owner could not pay back";
        }
    }

    function tip(uint256 giver, uint256 track, bool inDollars, uint96 amount) external {
        (bytes32 id, address who) = (ids[track % TRACKS], people[giver % PEOPLE]);
        amount = uint96(bound(amount, 1, 1e24));
        address token = inDollars ? address(dollars) : address(0);
        _fund(who, token, amount);
        vm.prank(who);
        try licensing.tip{value: inDollars ? 0 : amount}(id, inDollars ? 1 : 0, amount) {
            _took(id, token, amount, 0);
        } catch {
            if (_isAllowed(token)) fault = "a tip failed";
        }
    }

    function buyEdition(uint256 payer, uint256 which, uint32 amount) external {
        uint256 number = numbers[which % EDITIONS];
        address who = people[payer % PEOPLE];
        amount = uint32(bound(amount, 1, 4));
        TrackEditions.Edition memory found = editions.edition(number);
        uint256 price = uint256(found.price) * amount;
        (address token,) = licensing.tokens(found.token);
        _fund(who, token, price);
        vm.startPrank(who);
        dollars.approve(address(editions), type(uint256).max);
        try editions.buy{value: token == address(0) ? price : 0}(number, amount, who, price) {
            _took(found.trackId, token, price, (price * licensing.feeBps()) / 10_000);
        } catch {
            bool isLeft = found.minted + amount <= found.cap;
            if (isLeft && _isOpen(found.trackId) && !_isPaused() && _isAllowed(token)) {
                fault = "an edition was not sold";
            }
        }
        vm.stopPrank();
    }

    function giveEdition(uint256 which, uint32 amount) external {
        uint256 number = numbers[which % EDITIONS];
        TrackEditions.Edition memory found = editions.edition(number);
        address owner = registry.ownerOf(uint256(found.trackId));
        vm.prank(owner);
        try editions.mint(number, owner, uint32(bound(amount, 1, 10))) {} catch {}
    }

    function settle(uint256 track, uint256 which, bool inDollars) external {
        (bytes32 id, Split[] memory splits) = (ids[track % TRACKS], list(which % (PEOPLE * LISTS)));
        address token = inDollars ? address(dollars) : address(0);
        try licensing.settle(id, splits, token) {
            (uint128 gross, uint128 fee) = licensing.accrual(id, keccak256(abi.encode(splits)), token);
            if (fee != 0 || gross >= splits.length) fault = "more was left than a unit for each";
            vm.recordLogs();
            licensing.settle(id, splits, token);
            if (vm.getRecordedLogs().length != 0) fault = "dividing again did something";
        } catch {
            fault = "somebody could not settle";
        }
    }

    function withdraw(uint256 who, bool inDollars) external {
        address account = who % (PEOPLE + 1) == PEOPLE ? dao : people[who % PEOPLE];
        address token = inDollars ? address(dollars) : address(0);
        uint256 owed = licensing.owed(account, token);
        uint256 before = inDollars ? dollars.balanceOf(account) : account.balance;
        try licensing.withdraw(account, token) returns (uint256 paid) {
            uint256 afterwards = inDollars ? dollars.balanceOf(account) : account.balance;
            if (paid != owed || afterwards - before != owed) fault = "an account was paid something else";
            if (licensing.owed(account, token) != 0) fault = "an account may be paid twice";
            wentOut[token] += paid;
            paidTo[account][token] += paid;
        } catch {
            fault = "somebody could not withdraw";
        }
    }

    function changeSplits(uint256 track, uint256 which) external {
        bytes32 id = ids[track % TRACKS];
        vm.prank(registry.ownerOf(uint256(id)));
        registry.setSplits(id, list(which % (PEOPLE * LISTS)));
    }

    function sellRight(uint256 track, uint256 to) external {
        bytes32 id = ids[track % TRACKS];
        address owner = registry.ownerOf(uint256(id));
        vm.prank(owner);
        registry.transferFrom(owner, people[to % PEOPLE], uint256(id));
    }

    function stop(uint256 track, uint8 how) external {
        bytes32 id = ids[track % TRACKS];
        if (how % 4 < 2) {
            vm.prank(registry.ownerOf(uint256(id)));
            registry.setActive(id, how % 4 == 0);
        } else {
            vm.prank(dao);
            registry.setBlocked(id, how % 4 == 2 && how > 200);
        }
    }

    function govern(uint8 what, uint16 bps) external {
        vm.startPrank(dao);
        if (what % 4 == 0) {
            try licensing.setFee(bps) {} catch {}
        } else if (what % 4 == 1) {
            licensing.setToken(address(dollars), bps % 4 != 0);
        } else if (what % 4 == 2 && bps % 4 == 0) {
            licensing.pause();
        } else {
            licensing.unpause();
        }
        vm.stopPrank();
    }

    function trespass(uint256 who, uint256 track) external {
        (bytes32 id, address stranger) = (ids[track % TRACKS], people[who % PEOPLE]);
        if (registry.ownerOf(uint256(id)) == stranger) return;
        vm.startPrank(stranger);
        try registry.setSplits(id, list(0)) {
            fault = "a stranger changed splits";
        } catch {}
        try licensing.addTerm(id, 0, 0, 0, 2) {
            fault = "a stranger added a term";
        } catch {}
        try licensing.setFee(0) {
            fault = "a stranger set the fee";
        } catch {}
        vm.stopPrank();
    }

    function wait(uint32 time) external {
        skip(bound(time, 1, 20 days));
    }

    function _took(bytes32 id, address token, uint256 gross, uint256 fee) private {
        cameIn[token] += gross;
        besides[dao][token] += fee;
        earned[key(id, registry.splitsHashOf(id), token)] += gross - fee;
    }

    function _fund(address who, address token, uint256 amount) private {
        if (token == address(0)) {
            vm.deal(who, who.balance + amount);
        } else {
            dollars.mint(who, amount);
            vm.prank(who);
            dollars.approve(address(licensing), type(uint256).max);
        }
    }

    function _isOpen(bytes32 id) private view returns (bool open) {
        (, open) = registry.saleState(id);
        (, bool allowed) = licensing.tokens(1);
        return open && allowed;
    }

    function _isPaused() private view returns (bool paused) {
        return block.timestamp < licensing.pausedUntil();
    }

    function _isAllowed(address token) private view returns (bool allowed) {
        (, allowed) = licensing.tokens(token == address(0) ? 0 : 1);
    }
}
