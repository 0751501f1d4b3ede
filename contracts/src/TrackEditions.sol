// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC2981} from "@openzeppelin/contracts/interfaces/IERC2981.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MusicLicensing} from "./MusicLicensing.sol";
import {TrackRegistry} from "./TrackRegistry.sol";

/// @title TrackEditions
/// @notice Limited editions of tracks and releases: collectables, capped for ever when they are made.
/// @dev What they earn goes through the same ledger and splits as licences. An edition opens no tier.
contract TrackEditions is ERC1155, IERC2981, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice An edition.
    /// @param trackId the track or release.
    /// @param price of one, in base units.
    /// @param cap the most that there ever are.
    /// @param minted how many there are or were.
    /// @param token number of the token (see MusicLicensing).
    /// @param open whether it is sold.
    struct Edition {
        bytes32 trackId;
        uint96 price;
        uint32 cap;
        uint32 minted;
        uint8 token;
        bool open;
    }

    /// @notice Where rights and royalties are.
    TrackRegistry public immutable registry;

    /// @notice Where money goes.
    MusicLicensing public immutable licensing;

    /// @notice How many editions there are; the last one has this number.
    uint256 public editionCount;

    mapping(uint256 editionId => Edition) private _editions;

    /// @notice An edition was made.
    /// @param editionId its number, from 1.
    /// @param trackId the track or release.
    /// @param cap the most that there ever are.
    /// @param price of one, in base units.
    /// @param token number of the token.
    event EditionCreated(uint256 indexed editionId, bytes32 indexed trackId, uint32 cap, uint96 price, uint8 token);

    /// @notice An edition was sold.
    /// @param editionId which.
    /// @param to who got it.
    /// @param payer who paid.
    /// @param amount how many.
    /// @param paid base units.
    event EditionSold(
        uint256 indexed editionId, address indexed to, address indexed payer, uint256 amount, uint256 paid
    );

    /// @notice The price changed.
    /// @param editionId which.
    /// @param price of one, in base units.
    event EditionPriceChanged(uint256 indexed editionId, uint96 price);

    /// @notice Sales were stopped or resumed.
    /// @param editionId which.
    /// @param open whether it is sold.
    event EditionOpenChanged(uint256 indexed editionId, bool open);

    /// @notice The caller may not do this.
    /// @param caller who.
    error NotAllowed(address caller);

    /// @notice There is no such edition, or it is not sold.
    /// @param editionId which.
    error UnknownEdition(uint256 editionId);

    /// @notice There are not so many left.
    /// @param left how many are.
    error SoldOut(uint256 left);

    /// @notice It costs more than the buyer agreed to.
    /// @param price what it costs.
    /// @param maxPrice what was agreed to.
    error PriceAboveMaximum(uint256 price, uint256 maxPrice);

    /// @notice A number is out of its bounds, or contracts do not belong together.
    error OutOfBounds();

    /// @param registry_ where rights and royalties are.
    /// @param licensing_ where money goes.
    constructor(TrackRegistry registry_, MusicLicensing licensing_) ERC1155("") {
        if (address(licensing_).code.length == 0) revert OutOfBounds();
        if (address(licensing_.registry()) != address(registry_)) revert OutOfBounds();
        registry = registry_;
        licensing = licensing_;
    }

    /// @notice Make an edition of an id that the caller owns.
    /// @param trackId the track or release.
    /// @param cap the most that there ever are; cannot be changed.
    /// @param price of one, in base units.
    /// @param token number of the token (see MusicLicensing).
    /// @return editionId its number.
    function createEdition(bytes32 trackId, uint32 cap, uint96 price, uint8 token)
        external
        returns (uint256 editionId)
    {
        _checkOwner(trackId);
        (, bool allowed) = licensing.tokens(token);
        if (cap == 0 || !allowed) revert OutOfBounds();
        editionId = ++editionCount;
        _editions[editionId] = Edition(trackId, price, cap, 0, token, true);
        emit EditionCreated(editionId, trackId, cap, price, token);
    }

    /// @notice Give some of an edition, by its owner, without payment.
    /// @param editionId which.
    /// @param to who gets them.
    /// @param amount how many.
    function mint(uint256 editionId, address to, uint32 amount) external nonReentrant {
        Edition storage edition_ = _known(editionId);
        _checkOwner(edition_.trackId);
        _take(edition_, amount);
        _mint(to, editionId, amount, "");
    }

    /// @notice Buy some of an edition.
    /// @param editionId which.
    /// @param amount how many.
    /// @param to who gets them.
    /// @param maxPrice the most that is paid.
    function buy(uint256 editionId, uint32 amount, address to, uint256 maxPrice) external payable nonReentrant {
        Edition storage edition_ = _known(editionId);
        if (!edition_.open) revert UnknownEdition(editionId);
        uint256 price = uint256(edition_.price) * amount;
        if (price > maxPrice) revert PriceAboveMaximum(price, maxPrice);
        _take(edition_, amount);
        emit EditionSold(editionId, to, msg.sender, amount, price);
        _pay(edition_.trackId, edition_.token, price);
        _mint(to, editionId, amount, "");
    }

    /// @notice Set the price of what is left.
    /// @param editionId which.
    /// @param price of one, in base units of the same token.
    function setPrice(uint256 editionId, uint96 price) external {
        Edition storage edition_ = _known(editionId);
        _checkOwner(edition_.trackId);
        edition_.price = price;
        emit EditionPriceChanged(editionId, price);
    }

    /// @notice Stop or resume sales.
    /// @param editionId which.
    /// @param open whether it is sold.
    function setOpen(uint256 editionId, bool open) external {
        Edition storage edition_ = _known(editionId);
        _checkOwner(edition_.trackId);
        edition_.open = open;
        emit EditionOpenChanged(editionId, open);
    }

    /// @notice Return an edition.
    /// @param editionId which.
    /// @return edition_ the edition.
    function edition(uint256 editionId) external view returns (Edition memory edition_) {
        return _known(editionId);
    }

    /// @notice Return the royalty of a resale (ERC-2981): the track's, to the track's owner.
    /// @param editionId which.
    /// @param salePrice in any unit.
    /// @return receiver the owner of the track or release.
    /// @return royaltyAmount in the same unit.
    function royaltyInfo(uint256 editionId, uint256 salePrice)
        external
        view
        returns (address receiver, uint256 royaltyAmount)
    {
        return registry.royaltyInfo(uint256(_known(editionId).trackId), salePrice);
    }

    /// @notice Return where an edition's description is: the manifest of its track or release.
    /// @param editionId which.
    /// @return text `ipfs://b…`.
    function uri(uint256 editionId) public view override returns (string memory text) {
        return registry.tokenURI(uint256(_known(editionId).trackId));
    }

    /// @notice Return whether an interface is supported (ERC-165).
    /// @param interfaceId its id.
    /// @return supported ERC-1155 with metadata, ERC-2981 and ERC-165.
    function supportsInterface(bytes4 interfaceId) public view override(ERC1155, IERC165) returns (bool supported) {
        return interfaceId == type(IERC2981).interfaceId || super.supportsInterface(interfaceId);
    }

    function _known(uint256 editionId) private view returns (Edition storage edition_) {
        edition_ = _editions[editionId];
        if (edition_.cap == 0) revert UnknownEdition(editionId);
    }

    function _checkOwner(bytes32 trackId) private view {
        if (registry.ownerOf(uint256(trackId)) != msg.sender) revert NotAllowed(msg.sender);
    }

    function _take(Edition storage edition_, uint32 amount) private {
        uint32 left = edition_.cap - edition_.minted;
        if (amount == 0) revert OutOfBounds();
        if (amount > left) revert SoldOut(left);
        edition_.minted += amount;
    }

    /// @dev The payment passes through this contract to the ledger, which divides it.
    function _pay(bytes32 trackId, uint8 tokenIndex, uint256 price) private {
        (address token,) = licensing.tokens(tokenIndex);
        if (token == address(0)) {
            // The ledger refuses anything but the exact price.
            licensing.deposit{value: msg.value}(trackId, tokenIndex, price);
            return;
        }
        if (msg.value != 0) revert OutOfBounds();
        if (price != 0) {
            IERC20(token).safeTransferFrom(msg.sender, address(this), price);
            IERC20(token).forceApprove(address(licensing), price);
        }
        licensing.deposit(trackId, tokenIndex, price);
    }
}
