// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title GuardianRegistry
/// @notice Who keeps parts of keys for artists: their devices, their public keys, their bonds, their fees.
/// @dev Guardians are stateless: a share travels sealed in the public keybox, so nothing about shares is here.
/// There is no automatic slashing either; what cannot be proven on a chain is a matter of reputation, and the
/// DAO can only remove a guardian, whose bond then unlocks like any other.
/// A device's signature (Ed25519) costs too much to check here, so an account may name a device that is not its
/// own, at the price of its bond. Whoever asks a guardian therefore checks that the device itself names the
/// account, and the DAO removes an account that occupies a stranger's device.
contract GuardianRegistry {
    using SafeERC20 for IERC20;

    /// @notice A guardian.
    /// @param peerKey Ed25519 key of its device; its libp2p id.
    /// @param hpkeKey X25519 key that shares are sealed to.
    /// @param bond in base units of MMT.
    /// @param feePerRelease it asks for a key, in base units of MMT.
    /// @param activeAt last sign of life, Unix seconds.
    /// @param unlocksAt when its bond can be withdrawn, 0 while it is a guardian.
    struct Guardian {
        bytes32 peerKey;
        bytes32 hpkeKey;
        uint96 bond;
        uint96 feePerRelease;
        uint40 activeAt;
        uint40 unlocksAt;
    }

    /// @notice Seconds from leaving to the bond.
    uint256 public constant UNBOND_SECONDS = 14 days;

    /// @notice The most guardians that one call lists.
    uint256 public constant PAGE_MAX = 256;

    /// @notice What bonds are in: MMT.
    IERC20 public immutable token;

    /// @notice The DAO's timelock.
    address public immutable dao;

    /// @notice The smallest bond of a new guardian, in base units.
    uint96 public minBond = 100 ether;

    mapping(address account => Guardian) private _guardians;
    mapping(bytes32 peerKey => address) private _byPeer;
    mapping(address account => uint256) private _places;
    address[] private _listed;

    /// @notice Somebody became a guardian.
    /// @param account who answers for it.
    /// @param peerKey of its device.
    /// @param hpkeKey that shares are sealed to.
    /// @param bond in base units.
    /// @param feePerRelease it asks.
    event GuardianRegistered(
        address indexed account, bytes32 indexed peerKey, bytes32 hpkeKey, uint96 bond, uint96 feePerRelease
    );

    /// @notice A guardian changed its key or fee. Shares sealed to the old key need it still.
    /// @param account who.
    /// @param hpkeKey that new shares are sealed to.
    /// @param feePerRelease it asks.
    event GuardianUpdated(address indexed account, bytes32 hpkeKey, uint96 feePerRelease);

    /// @notice A bond grew.
    /// @param account whose.
    /// @param bond all of it.
    event BondAdded(address indexed account, uint96 bond);

    /// @notice A sign of life.
    /// @param account whose.
    /// @param activeAt Unix seconds.
    event GuardianActive(address indexed account, uint40 activeAt);

    /// @notice A guardian leaves, or was removed by the DAO.
    /// @param account who.
    /// @param unlocksAt when its bond can be withdrawn.
    /// @param byDao whether the DAO removed it.
    event GuardianLeft(address indexed account, uint40 unlocksAt, bool byDao);

    /// @notice A bond was paid back.
    /// @param account whose.
    /// @param amount base units.
    event BondWithdrawn(address indexed account, uint96 amount);

    /// @notice The smallest bond of new guardians changed.
    /// @param minBond base units.
    event MinBondChanged(uint96 minBond);

    /// @notice The caller may not do this.
    /// @param caller who.
    error NotAllowed(address caller);

    /// @notice The account is a guardian, or has been one and has its bond here still.
    /// @param account who.
    error AlreadyGuardian(address account);

    /// @notice The device is another guardian's.
    /// @param peerKey which.
    error PeerTaken(bytes32 peerKey);

    /// @notice The account is no guardian.
    /// @param account who.
    error NotGuardian(address account);

    /// @notice The bond is smaller than the DAO asks for.
    /// @param bond that was offered.
    /// @param minBond that is asked for.
    error BondTooSmall(uint256 bond, uint256 minBond);

    /// @notice The bond is locked still.
    /// @param unlocksAt Unix seconds; 0 for a guardian that has not left.
    error BondLocked(uint256 unlocksAt);

    /// @notice A key is missing or a number out of its bounds.
    error OutOfBounds();

    modifier onlyGuardian() {
        if (_places[msg.sender] == 0) revert NotGuardian(msg.sender);
        _;
    }

    /// @param token_ MMT.
    /// @param dao_ the DAO's timelock.
    constructor(IERC20 token_, address dao_) {
        if (address(token_).code.length == 0 || dao_ == address(0)) revert OutOfBounds();
        token = token_;
        dao = dao_;
        emit MinBondChanged(minBond);
    }

    /// @notice Become a guardian; the bond is taken from the caller's allowance.
    /// @param peerKey Ed25519 key of the device.
    /// @param hpkeKey X25519 key that shares are sealed to.
    /// @param bond in base units of MMT.
    /// @param feePerRelease in base units of MMT.
    function register(bytes32 peerKey, bytes32 hpkeKey, uint96 bond, uint96 feePerRelease) external {
        if (peerKey == 0 || hpkeKey == 0) revert OutOfBounds();
        if (bond < minBond) revert BondTooSmall(bond, minBond);
        if (_guardians[msg.sender].peerKey != 0) revert AlreadyGuardian(msg.sender);
        if (_byPeer[peerKey] != address(0)) revert PeerTaken(peerKey);
        _guardians[msg.sender] = Guardian(peerKey, hpkeKey, bond, feePerRelease, uint40(block.timestamp), 0);
        _byPeer[peerKey] = msg.sender;
        _listed.push(msg.sender);
        _places[msg.sender] = _listed.length;
        emit GuardianRegistered(msg.sender, peerKey, hpkeKey, bond, feePerRelease);
        token.safeTransferFrom(msg.sender, address(this), bond);
    }

    /// @notice Change the key for new shares, or the fee. That is a sign of life, too.
    /// @param hpkeKey X25519 key that new shares are sealed to.
    /// @param feePerRelease in base units of MMT.
    function update(bytes32 hpkeKey, uint96 feePerRelease) external onlyGuardian {
        if (hpkeKey == 0) revert OutOfBounds();
        Guardian storage guardian = _guardians[msg.sender];
        guardian.hpkeKey = hpkeKey;
        guardian.feePerRelease = feePerRelease;
        guardian.activeAt = uint40(block.timestamp);
        emit GuardianUpdated(msg.sender, hpkeKey, feePerRelease);
    }

    /// @notice Make the bond larger.
    /// @param amount base units of MMT, from the caller's allowance.
    function addBond(uint96 amount) external onlyGuardian {
        Guardian storage guardian = _guardians[msg.sender];
        guardian.bond += amount;
        emit BondAdded(msg.sender, guardian.bond);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Show a sign of life.
    function beat() external onlyGuardian {
        _guardians[msg.sender].activeAt = uint40(block.timestamp);
        emit GuardianActive(msg.sender, uint40(block.timestamp));
    }

    /// @notice Stop being a guardian; the bond unlocks after fourteen days.
    function unbond() external onlyGuardian {
        _leave(msg.sender, false);
    }

    /// @notice Remove a guardian, by a vote of the DAO on the evidence. Its bond is not taken.
    /// @param account who.
    function remove(address account) external {
        if (msg.sender != dao) revert NotAllowed(msg.sender);
        if (_places[account] == 0) revert NotGuardian(account);
        _leave(account, true);
    }

    /// @notice Get the bond back, fourteen days after leaving.
    /// @return amount base units.
    function withdrawBond() external returns (uint96 amount) {
        Guardian memory guardian = _guardians[msg.sender];
        if (guardian.peerKey == 0) revert NotGuardian(msg.sender);
        if (guardian.unlocksAt == 0 || block.timestamp < guardian.unlocksAt) revert BondLocked(guardian.unlocksAt);
        amount = guardian.bond;
        delete _guardians[msg.sender];
        emit BondWithdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Set the smallest bond of new guardians, by a vote of the DAO.
    /// @param minBond_ base units of MMT.
    function setMinBond(uint96 minBond_) external {
        if (msg.sender != dao) revert NotAllowed(msg.sender);
        minBond = minBond_;
        emit MinBondChanged(minBond_);
    }

    /// @notice Return a guardian by its account.
    /// @param account who.
    /// @return guardian all zero for none; with `unlocksAt` for one that has left.
    function guardianOf(address account) external view returns (Guardian memory guardian) {
        return _guardians[account];
    }

    /// @notice Return a guardian by its device.
    /// @param peerKey Ed25519 key.
    /// @return account who answers for it, zero for none.
    /// @return guardian all zero for none.
    function guardianOfPeer(bytes32 peerKey) external view returns (address account, Guardian memory guardian) {
        account = _byPeer[peerKey];
        guardian = _guardians[account];
    }

    /// @notice Return whether an account is a guardian now.
    /// @param account who.
    /// @return active whether it is.
    function isActive(address account) external view returns (bool active) {
        return _places[account] != 0;
    }

    /// @notice Return how many guardians there are.
    /// @return count without those that have left.
    function guardianCount() external view returns (uint256 count) {
        return _listed.length;
    }

    /// @notice Return guardians, in no particular order.
    /// @param offset how many to leave out.
    /// @param limit how many to return, at most 256.
    /// @return accounts fewer at the end of the list.
    function guardians(uint256 offset, uint256 limit) external view returns (address[] memory accounts) {
        uint256 count = _listed.length;
        if (limit > PAGE_MAX) revert OutOfBounds();
        if (offset >= count) return new address[](0);
        uint256 size = count - offset < limit ? count - offset : limit;
        accounts = new address[](size);
        for (uint256 i; i < size; ++i) {
            accounts[i] = _listed[offset + i];
        }
    }

    function _leave(address account, bool byDao) private {
        uint256 place = _places[account];
        address last = _listed[_listed.length - 1];
        _listed[place - 1] = last;
        _places[last] = place;
        _listed.pop();
        delete _places[account];
        Guardian storage guardian = _guardians[account];
        delete _byPeer[guardian.peerKey];
        guardian.unlocksAt = uint40(block.timestamp + UNBOND_SECONDS);
        emit GuardianLeft(account, guardian.unlocksAt, byDao);
    }
}
