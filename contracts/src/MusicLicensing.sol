// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SplitLedger} from "./SplitLedger.sol";
import {TrackRegistry} from "./TrackRegistry.sol";
import {TextIds} from "./lib/TextIds.sol";

/// @title MusicLicensing
/// @notice Licences to tracks and releases: prices, purchases, renewals, refunds, and who may hear what.
/// @dev A term, once added, never changes: re-pricing adds another and disables the old one. So nobody can be
/// charged something else than was agreed, a refund always knows price and token, and a licence needs two slots.
contract MusicLicensing is SplitLedger {
    using SafeCast for uint256;

    /// @notice What is sold.
    /// @param price of one period, in base units of the token.
    /// @param periodSeconds length of a period; 0 for a licence without end.
    /// @param token number of the token (see `tokens`); 0 is the native coin.
    /// @param kind 1 stream, 2 download (opens also what stream opens); others are agreements outside of Marina.
    /// @param enabled whether it is sold now.
    struct Term {
        uint96 price;
        uint32 periodSeconds;
        uint8 token;
        uint8 kind;
        bool enabled;
    }

    /// @notice A term to add.
    /// @param price of one period.
    /// @param periodSeconds length of a period; 0 for a licence without end.
    /// @param token number of the token.
    /// @param kind 1 stream, 2 download.
    struct TermInput {
        uint96 price;
        uint32 periodSeconds;
        uint8 token;
        uint8 kind;
    }

    /// @notice One purchase of several.
    /// @param id the track or release.
    /// @param termId the term.
    /// @param periods how many.
    /// @param licensee who gets the licence.
    /// @param maxPrice the most that is paid.
    struct Order {
        bytes32 id;
        uint16 termId;
        uint16 periods;
        address licensee;
        uint256 maxPrice;
    }

    /// @dev Two slots. What was paid follows from the term, which never changes.
    struct Licence {
        bytes32 id;
        address licensee;
        uint40 startedAt;
        uint32 duration;
        uint16 termId;
        uint8 token;
    }

    /// @notice The kind of licence that opens the stream tier.
    uint8 public constant KIND_STREAM = 1;

    /// @notice The kind of licence that opens the stream and the original tier.
    uint8 public constant KIND_DOWNLOAD = 2;

    /// @notice The most terms that an id can have in its life.
    uint256 public constant TERMS_MAX = 256;

    /// @notice The most periods of one purchase.
    uint16 public constant PERIODS_MAX = 1_200;

    /// @notice The most orders of one transaction.
    uint256 public constant ORDERS_MAX = 64;

    /// @notice The highest fee that the DAO can set, in basis points.
    uint16 public constant FEE_MAX_BPS = 1_000;

    /// @notice A pause of new purchases ends by itself after this many seconds.
    uint256 public constant PAUSE_SECONDS = 7 days;

    /// @notice Where rights and splits are.
    TrackRegistry public immutable registry;

    /// @notice The DAO's part of every sale, in basis points.
    uint16 public feeBps = 250;

    /// @notice No purchases before this second.
    uint40 public pausedUntil;

    /// @notice Who may pause new purchases; zero for nobody.
    address public pauser;

    uint32 private constant FOR_EVER = type(uint32).max;

    mapping(bytes32 id => Term[]) private _terms;
    mapping(bytes32 licenceId => Licence) private _licences;

    /// @notice A term was added.
    /// @param id the track or release.
    /// @param termId its number.
    /// @param price of one period.
    /// @param periodSeconds length of a period, 0 without end.
    /// @param token number of the token.
    /// @param kind of licence.
    event TermAdded(
        bytes32 indexed id, uint16 indexed termId, uint96 price, uint32 periodSeconds, uint8 token, uint8 kind
    );

    /// @notice A term is sold, or not any more.
    /// @param id the track or release.
    /// @param termId its number.
    /// @param enabled whether it is sold.
    event TermEnabled(bytes32 indexed id, uint16 indexed termId, bool enabled);

    /// @notice A licence was bought or extended.
    /// @param licenceId its id.
    /// @param trackId the track or release.
    /// @param licensee who may hear it.
    /// @param payer who paid.
    /// @param termId the term.
    /// @param periods how many.
    /// @param paid base units of the term's token.
    /// @param splitsHash of the splits that divide it.
    /// @param expiresAt Unix seconds; the largest number for a licence without end.
    event LicencePurchased(
        bytes32 indexed licenceId,
        bytes32 indexed trackId,
        address indexed licensee,
        address payer,
        uint16 termId,
        uint16 periods,
        uint256 paid,
        bytes32 splitsHash,
        uint64 expiresAt
    );

    /// @notice The owner ended a licence and paid back.
    /// @param licenceId its id.
    /// @param licensee who is owed the refund.
    /// @param token zero for the native coin.
    /// @param refund base units.
    event LicenceRevoked(bytes32 indexed licenceId, address indexed licensee, address token, uint256 refund);

    /// @notice A licence was made under the name of the original specification.
    /// @param licenseId its id.
    /// @param trackId its text.
    /// @param licensee who may hear it.
    event LicenseCreated(bytes32 indexed licenseId, string trackId, address licensee);

    /// @notice The same licence is good from this block on.
    /// @param licenseId its id.
    event LicenseActivated(bytes32 indexed licenseId);

    /// @notice Somebody gave without wanting anything.
    /// @param id the track or release.
    /// @param from who.
    /// @param token zero for the native coin.
    /// @param amount base units.
    event Tipped(bytes32 indexed id, address indexed from, address indexed token, uint256 amount);

    /// @notice The DAO's part changed.
    /// @param feeBps basis points.
    event FeeChanged(uint16 feeBps);

    /// @notice New purchases are stopped, or go on.
    /// @param until Unix seconds; in the past when they go on.
    event PausedUntil(uint40 until);

    /// @notice Somebody else may pause.
    /// @param pauser zero for nobody.
    event PauserChanged(address pauser);

    /// @notice The id is not registered, not active, or blocked by the DAO.
    /// @param id which.
    error NotForSale(bytes32 id);

    /// @notice There is no such term, or it is not sold.
    /// @param id the track or release.
    /// @param termId its number.
    error UnknownTerm(bytes32 id, uint256 termId);

    /// @notice There is no such licence, or it has ended.
    /// @param licenceId which.
    error NoLicence(bytes32 licenceId);

    /// @notice The licence has no end already.
    /// @param licenceId which.
    error AlreadyLicensed(bytes32 licenceId);

    /// @notice It costs more than the buyer agreed to.
    /// @param price what it costs.
    /// @param maxPrice what was agreed to.
    error PriceAboveMaximum(uint256 price, uint256 maxPrice);

    /// @notice A number is out of its bounds, or a receiver is missing.
    error OutOfBounds();

    /// @notice New purchases are paused.
    /// @param until Unix seconds.
    error Paused(uint256 until);

    /// @param registry_ where rights and splits are.
    /// @param dao_ the DAO's timelock.
    constructor(TrackRegistry registry_, address dao_) SplitLedger(dao_) {
        if (address(registry_).code.length == 0) revert OutOfBounds();
        registry = registry_;
        emit FeeChanged(feeBps);
    }

    /// @notice Add a term to an id that the caller owns.
    /// @param id the track or release.
    /// @param price of one period.
    /// @param periodSeconds length of a period; 0 for a licence without end.
    /// @param token number of the token.
    /// @param kind 1 stream, 2 download.
    /// @return termId its number.
    function addTerm(bytes32 id, uint96 price, uint32 periodSeconds, uint8 token, uint8 kind)
        external
        returns (uint16 termId)
    {
        _checkOwner(id);
        return _addTerm(id, TermInput(price, periodSeconds, token, kind));
    }

    /// @notice Add several terms to an id that the caller owns.
    /// @param id the track or release.
    /// @param inputs the terms.
    /// @return firstTermId number of the first; the others follow.
    function addTerms(bytes32 id, TermInput[] calldata inputs) external returns (uint16 firstTermId) {
        _checkOwner(id);
        firstTermId = _terms[id].length.toUint16();
        for (uint256 i; i < inputs.length; ++i) {
            _addTerm(id, inputs[i]);
        }
    }

    /// @notice Sell a term again, or stop selling it; licences under it stay.
    /// @param id the track or release.
    /// @param termId its number.
    /// @param enabled whether it is sold.
    function setTermEnabled(bytes32 id, uint16 termId, bool enabled) external {
        _checkOwner(id);
        if (termId >= _terms[id].length) revert UnknownTerm(id, termId);
        _terms[id][termId].enabled = enabled;
        emit TermEnabled(id, termId, enabled);
    }

    /// @notice Buy a licence, or extend one, for oneself or as a gift.
    /// @param id the track or release.
    /// @param termId the term.
    /// @param periods 1 to 1,200; 1 for a licence without end.
    /// @param licensee who gets it.
    /// @param maxPrice the most that is paid.
    /// @return licenceId keccak256(abi.encode(id, termId, licensee)).
    function purchase(bytes32 id, uint16 termId, uint16 periods, address licensee, uint256 maxPrice)
        external
        payable
        nonReentrant
        returns (bytes32 licenceId)
    {
        uint256 price;
        address token;
        (licenceId, price, token) = _purchase(Order(id, termId, periods, licensee, maxPrice));
        _pull(token, price);
    }

    /// @notice Buy with a token whose holder signs the allowance (ERC-2612): one transaction, no approval before.
    /// @param order what is bought.
    /// @param deadline of the permit.
    /// @param v of the permit's signature.
    /// @param r of the permit's signature.
    /// @param s of the permit's signature.
    /// @return licenceId as for `purchase`.
    function purchaseWithPermit(Order calldata order, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        returns (bytes32 licenceId)
    {
        uint256 price;
        address token;
        (licenceId, price, token) = _purchase(order);
        if (token == address(0)) revert TokenNotAllowed(NATIVE);
        // Somebody may have sent the permit ahead of us; what counts is the allowance, which `_pull` needs.
        try IERC20Permit(token).permit(msg.sender, address(this), price, deadline, v, r, s) {} catch {}
        _pull(token, price);
    }

    /// @notice Buy several licences with one native payment; other tokens are taken one by one.
    /// @param orders what is bought.
    /// @return licenceIds in the same order.
    function purchaseMany(Order[] calldata orders) external payable nonReentrant returns (bytes32[] memory licenceIds) {
        uint256 count = orders.length;
        if (count == 0 || count > ORDERS_MAX) revert OutOfBounds();
        licenceIds = new bytes32[](count);
        uint256[] memory prices = new uint256[](count);
        address[] memory taken = new address[](count);
        uint256 native;
        for (uint256 i; i < count; ++i) {
            (licenceIds[i], prices[i], taken[i]) = _purchase(orders[i]);
            if (taken[i] == address(0)) native += prices[i];
        }
        if (msg.value != native) revert WrongPayment(msg.value, native);
        for (uint256 i; i < count; ++i) {
            if (taken[i] != address(0)) _pullToken(taken[i], prices[i]);
        }
    }

    /// @notice End a licence and pay back what is not used: the owner's word against the buyer's money.
    /// @dev A licence without end is paid back whole. Rounded up, in the token that was paid. Of the native coin at
    /// least the refund is sent; what is too much is owed to the sender.
    /// @param licenceId which.
    /// @return refund base units that the licensee may withdraw.
    function revokeWithRefund(bytes32 licenceId) external payable nonReentrant returns (uint256 refund) {
        Licence memory found = _licences[licenceId];
        if (!_isLive(found)) revert NoLicence(licenceId);
        _checkOwner(found.id);
        refund = _refundOf(found);
        address token = _tokenAt(found.token);
        delete _licences[licenceId];
        emit LicenceRevoked(licenceId, found.licensee, token, refund);
        if (refund != 0) _credit(found.licensee, token, found.id, refund);
        if (token != address(0)) {
            _pull(token, refund);
            return refund;
        }
        // What is left shrinks with every second, so nobody can send it exactly: the rest is owed to the sender.
        if (msg.value < refund) revert WrongPayment(msg.value, refund);
        if (msg.value > refund) _credit(msg.sender, token, found.id, msg.value - refund);
    }

    /// @notice Give to a track or release; no fee is taken.
    /// @param id the track or release.
    /// @param token number of the token.
    /// @param amount base units.
    function tip(bytes32 id, uint8 token, uint256 amount) external payable nonReentrant {
        address taken = _allowedToken(token);
        if (amount == 0) revert OutOfBounds();
        bytes32 splitsHash = registry.splitsHashOf(id);
        if (splitsHash == 0) revert NotForSale(id);
        _accrue(id, splitsHash, taken, amount, 0);
        emit Tipped(id, msg.sender, taken, amount);
        emit Accrued(id, taken, splitsHash, amount, 0);
        _pull(taken, amount);
    }

    /// @notice Pay for something else that is sold in an id's name, like an edition; the fee is taken.
    /// @param id the track or release.
    /// @param token number of the token.
    /// @param amount base units.
    function deposit(bytes32 id, uint8 token, uint256 amount) external payable nonReentrant {
        _checkNotPaused();
        address taken = _allowedToken(token);
        bytes32 splitsHash = _splitsForSale(id);
        uint256 fee = (amount * feeBps) / 10_000;
        _accrue(id, splitsHash, taken, amount, fee);
        emit Accrued(id, taken, splitsHash, amount, fee);
        _pull(taken, amount);
    }

    /// @notice Set the DAO's part of later sales, by a vote.
    /// @param feeBps_ basis points, at most a tenth.
    function setFee(uint16 feeBps_) external onlyDao {
        if (feeBps_ > FEE_MAX_BPS) revert OutOfBounds();
        feeBps = feeBps_;
        emit FeeChanged(feeBps_);
    }

    /// @notice Choose who may pause new purchases, by a vote.
    /// @param pauser_ zero for nobody.
    function setPauser(address pauser_) external onlyDao {
        pauser = pauser_;
        emit PauserChanged(pauser_);
    }

    /// @notice Stop new purchases, of editions too, for seven days: when a fault was found. Everything else goes on.
    function pause() external {
        if (msg.sender != pauser && msg.sender != dao) revert NotAllowed(msg.sender);
        pausedUntil = uint40(block.timestamp + PAUSE_SECONDS);
        emit PausedUntil(pausedUntil);
    }

    /// @notice Let purchases go on.
    function unpause() external {
        if (msg.sender != pauser && msg.sender != dao) revert NotAllowed(msg.sender);
        pausedUntil = 0;
        emit PausedUntil(0);
    }

    /// @notice Buy a licence by the names of the original specification, in the native coin.
    /// @param trackId `tr_…` or `rl_…`.
    /// @param duration seconds, a multiple of a term's period; 0 for a licence without end.
    /// @return licenseId as for `purchase`.
    function createLicense(string calldata trackId, uint256 duration)
        external
        payable
        nonReentrant
        returns (bytes32 licenseId)
    {
        bytes32 id = TextIds.parse(trackId);
        (uint16 termId, uint16 periods) = _termFor(id, duration);
        uint256 price;
        (licenseId, price,) = _purchase(Order(id, termId, periods, msg.sender, msg.value));
        _pull(address(0), price);
        emit LicenseCreated(licenseId, trackId, msg.sender);
        emit LicenseActivated(licenseId);
    }

    /// @notice Return a licence in the words of the original specification.
    /// @param licenseId which.
    /// @return trackId `tr_…` of the track or release.
    /// @return licensee who may hear it.
    /// @return price that was paid, in base units.
    /// @return duration in seconds; the largest number without end.
    /// @return isActive whether it is good now.
    /// @return createdAt Unix seconds.
    function licenses(bytes32 licenseId)
        external
        view
        returns (
            string memory trackId,
            address licensee,
            uint256 price,
            uint256 duration,
            bool isActive,
            uint256 createdAt
        )
    {
        Licence memory found = _licences[licenseId];
        if (found.licensee == address(0)) revert NoLicence(licenseId);
        return (
            TextIds.format(found.id),
            found.licensee,
            _paid(found),
            found.duration == FOR_EVER ? type(uint256).max : found.duration,
            _isLive(found),
            found.startedAt
        );
    }

    /// @notice Return what a track or release costs: its first stream term in the native coin.
    /// @param trackId `tr_…` or `rl_…`.
    /// @return price of one period, in wei.
    function trackPrices(string calldata trackId) external view returns (uint256 price) {
        bytes32 id = TextIds.parse(trackId);
        Term[] storage terms = _terms[id];
        for (uint256 i; i < terms.length; ++i) {
            Term memory term_ = terms[i];
            if (term_.enabled && term_.token == NATIVE && term_.kind == KIND_STREAM) return term_.price;
        }
        revert UnknownTerm(id, 0);
    }

    /// @notice Return whether an account holds a live licence of a kind, to an id or to its release.
    /// @param id the track or release.
    /// @param account who.
    /// @param kind 1 stream, 2 download.
    /// @return licensed whether it does.
    function isLicensed(bytes32 id, address account, uint8 kind) public view returns (bool licensed) {
        (bytes32 licenceId,,) = _best(id, account, kind);
        if (licenceId != 0) return true;
        bytes32 releaseId = registry.releaseOf(id);
        if (releaseId == 0) return false;
        (licenceId,,) = _best(releaseId, account, kind);
        return licenceId != 0;
    }

    /// @notice Return whether a tier is open to an account: 1 to stream and download, 2 to download.
    /// @param id the track or release.
    /// @param account who.
    /// @param tier 1 stream, 2 original; tier 0 is public and needs no licence.
    /// @return open whether it is.
    function tierOpen(bytes32 id, address account, uint8 tier) external view returns (bool open) {
        (bytes32 licenceId,,) = licenceOf(id, account, tier);
        return tier == 0 || licenceId != 0;
    }

    /// @notice Return the licence that opens a tier for longest.
    /// @param id the track or release.
    /// @param account who.
    /// @param tier 1 stream, 2 original.
    /// @return licenceId zero for none.
    /// @return from Unix seconds.
    /// @return to Unix seconds; the first second at which it is over.
    function licenceOf(bytes32 id, address account, uint8 tier)
        public
        view
        returns (bytes32 licenceId, uint64 from, uint64 to)
    {
        if (tier == 0 || tier > 2) return (0, 0, 0);
        bytes32 releaseId = registry.releaseOf(id);
        for (uint8 kind = tier; kind <= KIND_DOWNLOAD; ++kind) {
            (bytes32 found, uint64 start, uint64 end) = _best(id, account, kind);
            if (end > to) (licenceId, from, to) = (found, start, end);
            if (releaseId == 0) continue;
            (found, start, end) = _best(releaseId, account, kind);
            if (end > to) (licenceId, from, to) = (found, start, end);
        }
    }

    /// @notice Return when a licence ends.
    /// @param licenceId which.
    /// @return end Unix seconds; 0 for none, the largest number without end.
    function expiresAt(bytes32 licenceId) external view returns (uint64 end) {
        return _end(_licences[licenceId]);
    }

    /// @notice Return a licence as it is stored.
    /// @param licenceId which.
    /// @return stored all zero for none.
    function licence(bytes32 licenceId) external view returns (Licence memory stored) {
        return _licences[licenceId];
    }

    /// @notice Return what the owner would have to pay back now.
    /// @param licenceId which.
    /// @return refund base units.
    /// @return token zero for the native coin.
    function refundOf(bytes32 licenceId) external view returns (uint256 refund, address token) {
        Licence memory found = _licences[licenceId];
        if (!_isLive(found)) revert NoLicence(licenceId);
        return (_refundOf(found), _tokenAt(found.token));
    }

    /// @notice Return a term.
    /// @param id the track or release.
    /// @param termId its number.
    /// @return term_ the term.
    function term(bytes32 id, uint16 termId) external view returns (Term memory term_) {
        if (termId >= _terms[id].length) revert UnknownTerm(id, termId);
        return _terms[id][termId];
    }

    /// @notice Return how many terms an id has had.
    /// @param id the track or release.
    /// @return count disabled ones included.
    function termCount(bytes32 id) external view returns (uint256 count) {
        return _terms[id].length;
    }

    /// @notice Return the id of a licence.
    /// @param id the track or release.
    /// @param termId the term.
    /// @param licensee who.
    /// @return licenceId keccak256(abi.encode(id, termId, licensee)).
    function licenceIdOf(bytes32 id, uint16 termId, address licensee) public pure returns (bytes32 licenceId) {
        return keccak256(abi.encode(id, termId, licensee));
    }

    function _addTerm(bytes32 id, TermInput memory input) private returns (uint16 termId) {
        _allowedToken(input.token);
        uint256 count = _terms[id].length;
        if (count >= TERMS_MAX || input.kind == 0 || input.periodSeconds == FOR_EVER) revert OutOfBounds();
        termId = uint16(count);
        _terms[id].push(Term(input.price, input.periodSeconds, input.token, input.kind, true));
        emit TermAdded(id, termId, input.price, input.periodSeconds, input.token, input.kind);
    }

    /// @dev Everything of a purchase but the payment, which comes last.
    function _purchase(Order memory order) private returns (bytes32 licenceId, uint256 price, address token) {
        _checkNotPaused();
        if (order.licensee == address(0)) revert OutOfBounds();
        if (order.termId >= _terms[order.id].length) revert UnknownTerm(order.id, order.termId);
        Term memory sold = _terms[order.id][order.termId];
        if (!sold.enabled) revert UnknownTerm(order.id, order.termId);
        token = _allowedToken(sold.token);
        price = uint256(sold.price) * order.periods;
        if (price > order.maxPrice) revert PriceAboveMaximum(price, order.maxPrice);
        bytes32 splitsHash = _splitsForSale(order.id);
        licenceId = licenceIdOf(order.id, order.termId, order.licensee);
        uint64 end = _extend(licenceId, order, sold);
        _accrue(order.id, splitsHash, token, price, (price * feeBps) / 10_000);
        emit LicencePurchased(
            licenceId, order.id, order.licensee, msg.sender, order.termId, order.periods, price, splitsHash, end
        );
    }

    function _extend(bytes32 licenceId, Order memory order, Term memory sold) private returns (uint64 end) {
        Licence storage stored = _licences[licenceId];
        uint256 periods = order.periods;
        bool hasEnd = sold.periodSeconds != 0;
        if (periods == 0 || periods > (hasEnd ? PERIODS_MAX : 1)) revert OutOfBounds();
        uint256 start = stored.startedAt;
        uint256 duration = hasEnd ? periods * sold.periodSeconds : FOR_EVER;
        if (start != 0 && block.timestamp < start + stored.duration) {
            if (!hasEnd) revert AlreadyLicensed(licenceId);
            duration += stored.duration;
        } else {
            if (start == 0) stored.id = order.id;
            start = block.timestamp;
        }
        if (hasEnd && duration >= FOR_EVER) revert OutOfBounds();
        stored.licensee = order.licensee;
        stored.startedAt = uint40(start);
        stored.duration = uint32(duration);
        stored.termId = order.termId;
        stored.token = sold.token;
        return hasEnd ? uint64(start + duration) : type(uint64).max;
    }

    function _termFor(bytes32 id, uint256 duration) private view returns (uint16 termId, uint16 periods) {
        Term[] storage terms = _terms[id];
        for (uint256 i; i < terms.length; ++i) {
            Term memory each = terms[i];
            if (!each.enabled || each.token != NATIVE || each.kind != KIND_STREAM) continue;
            if (duration == 0) {
                if (each.periodSeconds == 0) return (uint16(i), 1);
            } else if (
                each.periodSeconds != 0 && duration % each.periodSeconds == 0
                    && duration / each.periodSeconds <= PERIODS_MAX
            ) {
                return (uint16(i), uint16(duration / each.periodSeconds));
            }
        }
        revert UnknownTerm(id, 0);
    }

    /// @dev The live licence of one kind that ends last, over all terms that there ever were.
    function _best(bytes32 id, address account, uint8 kind)
        private
        view
        returns (bytes32 licenceId, uint64 from, uint64 to)
    {
        Term[] storage terms = _terms[id];
        uint256 count = terms.length;
        for (uint256 i; i < count; ++i) {
            if (terms[i].kind != kind) continue;
            bytes32 candidate = licenceIdOf(id, uint16(i), account);
            // Only the second slot of each licence is read.
            Licence storage found = _licences[candidate];
            (uint40 start, uint32 duration) = (found.startedAt, found.duration);
            uint64 end = _endOf(start, duration);
            if (block.timestamp < end && end > to) (licenceId, from, to) = (candidate, start, end);
        }
    }

    function _splitsForSale(bytes32 id) private view returns (bytes32 splitsHash) {
        bool open;
        (splitsHash, open) = registry.saleState(id);
        if (!open) revert NotForSale(id);
    }

    function _checkNotPaused() private view {
        if (block.timestamp < pausedUntil) revert Paused(pausedUntil);
    }

    function _checkOwner(bytes32 id) private view {
        if (registry.ownerOf(uint256(id)) != msg.sender) revert NotAllowed(msg.sender);
    }

    function _isLive(Licence memory licence_) private view returns (bool live) {
        return block.timestamp < _end(licence_);
    }

    function _end(Licence memory licence_) private pure returns (uint64 end) {
        return _endOf(licence_.startedAt, licence_.duration);
    }

    /// @dev The first second at which a licence is over: 0 where there is none.
    function _endOf(uint40 start, uint32 duration) private pure returns (uint64 end) {
        return duration == FOR_EVER ? type(uint64).max : uint64(start) + duration;
    }

    function _paid(Licence memory licence_) private view returns (uint256 paid) {
        Term memory agreed = _terms[licence_.id][licence_.termId];
        if (agreed.periodSeconds == 0) return agreed.price;
        return uint256(agreed.price) * (licence_.duration / agreed.periodSeconds);
    }

    function _refundOf(Licence memory licence_) private view returns (uint256 refund) {
        uint256 paid = _paid(licence_);
        if (licence_.duration == FOR_EVER) return paid;
        uint256 left = _end(licence_) - block.timestamp;
        return (paid * left + licence_.duration - 1) / licence_.duration;
    }
}
