// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC2981} from "@openzeppelin/contracts/interfaces/IERC2981.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Split, Splits} from "./lib/Splits.sol";
import {TextIds} from "./lib/TextIds.sol";

/// @title TrackRegistry
/// @notice Who holds the rights in a track or release, what it is, how its earnings are split, and where its
/// keys are. A track's or release's id is `keccak256(abi.encode(artist, salt))`: it is known before any
/// transaction, and only that artist, or that artist's signature, can register it.
/// @dev The right is an ERC-721 token with the id as its number. Releases are registered like tracks; a track
/// names its release. Nothing is upgradeable and nobody but the token's owner changes a record; the DAO can
/// only block new sales.
contract TrackRegistry is ERC721, EIP712, IERC2981, IERC4906 {
    /// @notice What is registered.
    /// @param salt 32 random bytes that, with the artist's account, make the id.
    /// @param contentDigest sha256 of the manifest's block: the digest in its CID.
    /// @param releaseId the release that a track belongs to, zero for none.
    /// @param royaltyBps what ERC-2981 asks of resales, in basis points.
    /// @param splits who is paid, sorted by account, together 10,000 basis points.
    struct Registration {
        bytes32 salt;
        bytes32 contentDigest;
        bytes32 releaseId;
        uint16 royaltyBps;
        Split[] splits;
    }

    /// @notice A tier's keybox, as it is anchored.
    /// @param id the track or release.
    /// @param tier 0 to 2.
    /// @param digest sha256 of the keybox's block.
    /// @param epoch above the last one.
    /// @param finality 0 one block, 1 safe, 2 finalized.
    struct Anchor {
        bytes32 id;
        uint8 tier;
        bytes32 digest;
        uint32 epoch;
        uint8 finality;
    }

    /// @notice Keys are kept for this many tiers: 0 preview, 1 stream, 2 original.
    uint8 public constant TIERS = 3;

    /// @notice The highest finality policy.
    uint8 public constant FINALITY_MAX = 2;

    /// @notice The most registrations in one transaction.
    uint256 public constant BATCH_MAX = 64;

    /// @notice The highest royalty, in basis points.
    uint16 public constant ROYALTY_MAX_BPS = 5_000;

    bytes32 private constant REGISTER_TYPEHASH = keccak256(
        "Register(address artist,bytes32 salt,bytes32 contentDigest,bytes32 releaseId,uint16 royaltyBps,bytes32 splitsHash,uint256 deadline)"
    );

    // Where each value lies in a record's one slot of meta data, which is written with the registration, so that
    // anchoring a keybox later takes one new slot and not two. The time of the registration has the lowest 40 bits.
    uint256 private constant VERSION_AT = 40;
    uint256 private constant ROYALTY_AT = 72;
    uint256 private constant INACTIVE_AT = 88;
    uint256 private constant BLOCKED_AT = 89;
    uint256 private constant EPOCH_AT = 96;
    uint256 private constant FINALITY_AT = 192;

    /// @notice The DAO's timelock.
    address public immutable dao;

    /// @notice sha256 of the moderation list that the DAO has adopted; zero for none.
    bytes32 public moderationList;

    mapping(bytes32 id => uint256) private _meta;
    mapping(bytes32 id => bytes32) private _contentDigests;
    mapping(bytes32 id => bytes32) private _splitsHashes;
    mapping(bytes32 id => bytes32) private _releases;
    mapping(bytes32 id => mapping(uint256 tier => bytes32)) private _keyboxDigests;
    mapping(bytes32 id => mapping(address owner => mapping(address writer => bool))) private _writers;

    /// @notice Device bindings of an account with a smaller epoch are void.
    mapping(address account => uint64) public bindingEpoch;

    /// @notice A track or release was registered.
    /// @param id its id.
    /// @param artist whose it is.
    /// @param releaseId the release it belongs to, or zero.
    /// @param contentDigest sha256 of its manifest.
    /// @param royaltyBps royalty of resales.
    /// @param splits who is paid.
    event Registered(
        bytes32 indexed id,
        address indexed artist,
        bytes32 indexed releaseId,
        bytes32 contentDigest,
        uint16 royaltyBps,
        Split[] splits
    );

    /// @notice A new version of the manifest.
    /// @param id the track or release.
    /// @param contentDigest sha256 of the manifest.
    /// @param version 1 for the first.
    event ContentUpdated(bytes32 indexed id, bytes32 contentDigest, uint32 version);

    /// @notice From now on earnings are split in another way; what was earned before is not moved.
    /// @param id the track or release.
    /// @param splitsHash of the new list.
    /// @param splits the new list.
    event SplitsChanged(bytes32 indexed id, bytes32 splitsHash, Split[] splits);

    /// @notice The owner stopped or resumed new sales.
    /// @param id the track or release.
    /// @param active whether it is sold.
    event ActiveChanged(bytes32 indexed id, bool active);

    /// @notice The DAO blocked or unblocked new sales.
    /// @param id the track or release.
    /// @param blocked whether it is blocked.
    event BlockedChanged(bytes32 indexed id, bool blocked);

    /// @notice The royalty of resales changed.
    /// @param id the track or release.
    /// @param royaltyBps basis points.
    event RoyaltyChanged(bytes32 indexed id, uint16 royaltyBps);

    /// @notice A tier's keybox was anchored.
    /// @param id the track or release.
    /// @param tier 0 to 2.
    /// @param digest sha256 of the keybox.
    /// @param epoch of the keybox.
    /// @param finality policy for giving keys.
    event KeyboxAnchored(bytes32 indexed id, uint8 indexed tier, bytes32 digest, uint32 epoch, uint8 finality);

    /// @notice An account may, or may no longer, anchor keyboxes for the present owner.
    /// @param id the track or release.
    /// @param writer the account.
    /// @param allowed whether it may.
    event KeyboxWriterChanged(bytes32 indexed id, address indexed writer, bool allowed);

    /// @notice An account declared all its older device bindings void.
    /// @param account whose.
    /// @param epoch the smallest that is still good.
    event BindingEpochBumped(address indexed account, uint64 epoch);

    /// @notice The DAO adopted another moderation list.
    /// @param digest sha256 of the list.
    event ModerationListChanged(bytes32 digest);

    /// @notice The id is registered already.
    /// @param id which.
    error AlreadyRegistered(bytes32 id);

    /// @notice Nothing is registered under this id.
    /// @param id which.
    error UnknownId(bytes32 id);

    /// @notice The caller may not do this.
    /// @param caller who.
    error NotAllowed(address caller);

    /// @notice A signature is not the artist's, or too old.
    error InvalidSignature();

    /// @notice A tier, finality, royalty or batch is out of bounds, or a digest is empty.
    error OutOfBounds();

    /// @notice A keybox must have a higher epoch than the one before.
    /// @param current the one in force.
    error StaleEpoch(uint32 current);

    modifier onlyDao() {
        if (msg.sender != dao) revert NotAllowed(msg.sender);
        _;
    }

    modifier onlyOwnerOf(bytes32 id) {
        if (_requireOwner(id) != msg.sender) revert NotAllowed(msg.sender);
        _;
    }

    /// @param dao_ the DAO's timelock.
    constructor(address dao_) ERC721("Marina Tracks", "MTRACK") EIP712("marina", "1") {
        if (dao_ == address(0)) revert NotAllowed(dao_);
        dao = dao_;
    }

    /// @notice Register a track or release of the caller.
    /// @param registration what it is.
    /// @return id keccak256(abi.encode(caller, salt)).
    function register(Registration calldata registration) external returns (bytes32 id) {
        return _register(msg.sender, registration, Splits.check(registration.splits));
    }

    /// @notice Register a release and its tracks, or any others, of the caller at once.
    /// @param registrations what they are.
    /// @return ids in the same order.
    function registerMany(Registration[] calldata registrations) external returns (bytes32[] memory ids) {
        uint256 count = registrations.length;
        if (count > BATCH_MAX) revert OutOfBounds();
        ids = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            ids[i] = _register(msg.sender, registrations[i], Splits.check(registrations[i].splits));
        }
    }

    /// @notice Register a track or release for an artist who signed it; the caller pays the fee.
    /// @param artist whose it is.
    /// @param registration what it is.
    /// @param deadline last second at which the signature is good.
    /// @param signature of the EIP-712 message `Register`, by the account or its contract (ERC-1271).
    /// @return id keccak256(abi.encode(artist, salt)).
    function registerFor(address artist, Registration calldata registration, uint256 deadline, bytes calldata signature)
        external
        returns (bytes32 id)
    {
        bytes32 splitsHash = Splits.check(registration.splits);
        bytes32 digest = _hashTypedDataV4(
            keccak256(
                abi.encode(
                    REGISTER_TYPEHASH,
                    artist,
                    registration.salt,
                    registration.contentDigest,
                    registration.releaseId,
                    registration.royaltyBps,
                    splitsHash,
                    deadline
                )
            )
        );
        if (block.timestamp > deadline || !SignatureChecker.isValidSignatureNow(artist, digest, signature)) {
            revert InvalidSignature();
        }
        return _register(artist, registration, splitsHash);
    }

    /// @notice Point to a new version of the manifest.
    /// @param id the track or release.
    /// @param contentDigest sha256 of the new manifest.
    function updateContent(bytes32 id, bytes32 contentDigest) external onlyOwnerOf(id) {
        if (contentDigest == 0) revert OutOfBounds();
        uint256 meta = _meta[id];
        uint32 version = uint32(meta >> VERSION_AT) + 1;
        _meta[id] = _with(meta, VERSION_AT, 32, version);
        _contentDigests[id] = contentDigest;
        emit ContentUpdated(id, contentDigest, version);
        emit MetadataUpdate(uint256(id));
    }

    /// @notice Split future earnings in another way. Money earned before is owed as it was.
    /// @param id the track or release.
    /// @param splits the new list.
    function setSplits(bytes32 id, Split[] calldata splits) external onlyOwnerOf(id) {
        bytes32 splitsHash = Splits.check(splits);
        _splitsHashes[id] = splitsHash;
        emit SplitsChanged(id, splitsHash, splits);
    }

    /// @notice Stop or resume new sales; licences that were sold stay.
    /// @param id the track or release.
    /// @param active whether it is sold.
    function setActive(bytes32 id, bool active) external onlyOwnerOf(id) {
        _meta[id] = _with(_meta[id], INACTIVE_AT, 1, active ? 0 : 1);
        emit ActiveChanged(id, active);
    }

    /// @notice Set the royalty of resales.
    /// @param id the track or release.
    /// @param royaltyBps basis points, at most half.
    function setRoyalty(bytes32 id, uint16 royaltyBps) external onlyOwnerOf(id) {
        if (royaltyBps > ROYALTY_MAX_BPS) revert OutOfBounds();
        _meta[id] = _with(_meta[id], ROYALTY_AT, 16, royaltyBps);
        emit RoyaltyChanged(id, royaltyBps);
    }

    /// @notice Anchor a tier's keybox: guardians and listeners accept only the one with this digest.
    /// @param id the track or release.
    /// @param tier 0 to 2.
    /// @param digest sha256 of the keybox's block.
    /// @param epoch above the last one.
    /// @param finality 0 one block, 1 safe, 2 finalized.
    function anchorKeybox(bytes32 id, uint8 tier, bytes32 digest, uint32 epoch, uint8 finality) external {
        _anchor(Anchor(id, tier, digest, epoch, finality));
    }

    /// @notice Anchor the keyboxes of a whole release, or any others, at once; all of them or none.
    /// @param anchors which, at most three for each registration of a full batch.
    function anchorKeyboxes(Anchor[] calldata anchors) external {
        uint256 count = anchors.length;
        if (count > BATCH_MAX * TIERS) revert OutOfBounds();
        for (uint256 i; i < count; ++i) {
            _anchor(anchors[i]);
        }
    }

    /// @notice Let an account anchor keyboxes: the artist's own node, a label, an heir. Ends with a transfer.
    /// @param id the track or release.
    /// @param writer the account.
    /// @param allowed whether it may.
    function setKeyboxWriter(bytes32 id, address writer, bool allowed) external onlyOwnerOf(id) {
        _writers[id][msg.sender][writer] = allowed;
        emit KeyboxWriterChanged(id, writer, allowed);
    }

    /// @notice Declare all older device bindings of the caller void: for a lost or stolen device.
    /// @return epoch the smallest that is still good.
    function bumpBindingEpoch() external returns (uint64 epoch) {
        epoch = ++bindingEpoch[msg.sender];
        emit BindingEpochBumped(msg.sender, epoch);
    }

    /// @notice Block or unblock new sales, by a vote of the DAO; licences that were sold stay.
    /// @param id the track or release.
    /// @param blocked whether it is blocked.
    function setBlocked(bytes32 id, bool blocked) external onlyDao {
        _requireOwner(id);
        _meta[id] = _with(_meta[id], BLOCKED_AT, 1, blocked ? 1 : 0);
        emit BlockedChanged(id, blocked);
    }

    /// @notice Adopt a moderation list, by a vote of the DAO. Operators choose whether they follow it.
    /// @param digest sha256 of the list's block; zero for none.
    function setModerationList(bytes32 digest) external onlyDao {
        moderationList = digest;
        emit ModerationListChanged(digest);
    }

    /// @notice Return the id that an artist's salt makes.
    /// @param artist the account.
    /// @param salt 32 bytes.
    /// @return id of a track or release.
    function idOf(address artist, bytes32 salt) public pure returns (bytes32 id) {
        return keccak256(abi.encode(artist, salt));
    }

    /// @notice Return a whole record.
    /// @param id the track or release.
    /// @return owner who holds the right.
    /// @return contentDigest sha256 of the manifest.
    /// @return splitsHash of the splits in force.
    /// @return releaseId the release it belongs to, or zero.
    /// @return royaltyBps royalty of resales.
    /// @return version of the manifest, from 1.
    /// @return active whether the owner sells it.
    /// @return blocked whether the DAO blocks sales.
    /// @return registeredAt Unix seconds.
    function record(bytes32 id)
        external
        view
        returns (
            address owner,
            bytes32 contentDigest,
            bytes32 splitsHash,
            bytes32 releaseId,
            uint16 royaltyBps,
            uint32 version,
            bool active,
            bool blocked,
            uint64 registeredAt
        )
    {
        owner = _requireOwner(id);
        uint256 meta = _meta[id];
        contentDigest = _contentDigests[id];
        splitsHash = _splitsHashes[id];
        releaseId = _releases[id];
        royaltyBps = uint16(meta >> ROYALTY_AT);
        version = uint32(meta >> VERSION_AT);
        active = (meta >> INACTIVE_AT) & 1 == 0;
        blocked = (meta >> BLOCKED_AT) & 1 == 1;
        registeredAt = uint40(meta);
    }

    /// @notice Return what a sale needs to know, in one call.
    /// @param id the track or release.
    /// @return splitsHash of the splits in force; zero when nothing is registered.
    /// @return open whether it is sold: registered, active and not blocked.
    function saleState(bytes32 id) external view returns (bytes32 splitsHash, bool open) {
        uint256 meta = _meta[id];
        return (_splitsHashes[id], meta != 0 && (meta >> INACTIVE_AT) & 3 == 0);
    }

    /// @notice Return the hash of the splits in force.
    /// @param id the track or release.
    /// @return splitsHash zero when nothing is registered.
    function splitsHashOf(bytes32 id) external view returns (bytes32 splitsHash) {
        return _splitsHashes[id];
    }

    /// @notice Return the release that a track belongs to.
    /// @param id the track.
    /// @return releaseId zero for none.
    function releaseOf(bytes32 id) external view returns (bytes32 releaseId) {
        return _releases[id];
    }

    /// @notice Return where a tier's key is.
    /// @param id the track or release.
    /// @param tier 0 to 2.
    /// @return digest sha256 of the keybox, zero for none.
    /// @return epoch of the keybox, zero for none.
    /// @return finality policy for giving keys.
    function keybox(bytes32 id, uint8 tier) external view returns (bytes32 digest, uint32 epoch, uint8 finality) {
        if (tier >= TIERS) revert OutOfBounds();
        uint256 meta = _meta[id];
        return (
            _keyboxDigests[id][tier],
            uint32(meta >> (EPOCH_AT + uint256(tier) * 32)),
            uint8(meta >> (FINALITY_AT + uint256(tier) * 8))
        );
    }

    /// @notice Return whether an account may anchor keyboxes besides the owner.
    /// @param id the track or release.
    /// @param writer the account.
    /// @return allowed by the present owner.
    function isKeyboxWriter(bytes32 id, address writer) external view returns (bool allowed) {
        return _writers[id][_requireOwner(id)][writer];
    }

    /// @notice Return the royalty of a resale (ERC-2981).
    /// @param tokenId the id as a number.
    /// @param salePrice in any unit.
    /// @return receiver the owner.
    /// @return royaltyAmount in the same unit.
    function royaltyInfo(uint256 tokenId, uint256 salePrice)
        external
        view
        returns (address receiver, uint256 royaltyAmount)
    {
        bytes32 id = bytes32(tokenId);
        receiver = _requireOwner(id);
        uint256 bps = uint16(_meta[id] >> ROYALTY_AT);
        // Divided first where the product would not fit: a price above 2^240 loses at most 10,000 units.
        royaltyAmount = salePrice > type(uint240).max ? (salePrice / 10_000) * bps : (salePrice * bps) / 10_000;
    }

    /// @notice Return the manifest's address in IPFS: a CIDv1 of DAG-CBOR and sha2-256.
    /// @param tokenId the id as a number.
    /// @return uri `ipfs://b…`.
    function tokenURI(uint256 tokenId) public view override returns (string memory uri) {
        bytes32 id = bytes32(tokenId);
        _requireOwner(id);
        bytes memory cid = abi.encodePacked(hex"01711220", _contentDigests[id]);
        return string.concat("ipfs://b", string(TextIds.base32(cid)));
    }

    /// @notice Return whether an interface is supported (ERC-165).
    /// @param interfaceId its id.
    /// @return supported ERC-721 with metadata, ERC-2981, ERC-4906 and ERC-165.
    function supportsInterface(bytes4 interfaceId) public view override(ERC721, IERC165) returns (bool supported) {
        return interfaceId == type(IERC2981).interfaceId || interfaceId == bytes4(0x49064906)
            || super.supportsInterface(interfaceId);
    }

    function _register(address artist, Registration calldata registration, bytes32 splitsHash)
        private
        returns (bytes32 id)
    {
        if (registration.contentDigest == 0 || registration.royaltyBps > ROYALTY_MAX_BPS) revert OutOfBounds();
        id = idOf(artist, registration.salt);
        if (_meta[id] != 0) revert AlreadyRegistered(id);
        _meta[id] = uint40(block.timestamp) | (1 << VERSION_AT) | (uint256(registration.royaltyBps) << ROYALTY_AT);
        _contentDigests[id] = registration.contentDigest;
        _splitsHashes[id] = splitsHash;
        if (registration.releaseId != 0) _releases[id] = registration.releaseId;
        _mint(artist, uint256(id));
        emit Registered(
            id, artist, registration.releaseId, registration.contentDigest, registration.royaltyBps, registration.splits
        );
    }

    function _anchor(Anchor memory anchor) private {
        (bytes32 id, uint256 tier) = (anchor.id, anchor.tier);
        address owner = _requireOwner(id);
        if (owner != msg.sender && !_writers[id][owner][msg.sender]) revert NotAllowed(msg.sender);
        if (tier >= TIERS || anchor.finality > FINALITY_MAX || anchor.digest == 0) revert OutOfBounds();
        uint256 meta = _meta[id];
        uint256 epochAt = EPOCH_AT + tier * 32;
        uint32 current = uint32(meta >> epochAt);
        if (anchor.epoch <= current) revert StaleEpoch(current);
        _meta[id] = _with(_with(meta, epochAt, 32, anchor.epoch), FINALITY_AT + tier * 8, 8, anchor.finality);
        _keyboxDigests[id][tier] = anchor.digest;
        emit KeyboxAnchored(id, anchor.tier, anchor.digest, anchor.epoch, anchor.finality);
    }

    function _requireOwner(bytes32 id) private view returns (address owner) {
        owner = _ownerOf(uint256(id));
        if (owner == address(0)) revert UnknownId(id);
    }

    /// @dev Return `meta` with `bits` bits at `shift` replaced by `value`.
    function _with(uint256 meta, uint256 shift, uint256 bits, uint256 value) private pure returns (uint256 changed) {
        uint256 mask = ((1 << bits) - 1) << shift;
        return (meta & ~mask) | (value << shift);
    }
}
