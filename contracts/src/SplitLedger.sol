// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Split, Splits} from "./lib/Splits.sol";

/// @title SplitLedger
/// @notice Money of tracks and releases: it comes in whole, is divided when somebody asks, and is pulled by
/// those whom it belongs to.
/// @dev What comes in is kept by (id, hash of the splits in force then, token). Changing the splits therefore
/// never moves money earned before, and a sale costs the same with one collaborator or with thirty-two. Nothing
/// ever stops `settle` and `withdraw`.
abstract contract SplitLedger is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @dev One slot.
    struct Accrual {
        uint128 gross;
        uint128 fee;
    }

    /// @dev A token that things may be priced in.
    struct Token {
        address token;
        bool allowed;
    }

    /// @notice The index of the native coin, and its address in this ledger.
    uint8 public constant NATIVE = 0;

    /// @notice The most tokens that can ever have a number, the native coin included.
    uint256 public constant TOKENS_MAX = 256;

    /// @notice The DAO's timelock: gets the fees and decides which tokens are taken.
    address public immutable dao;

    Token[] private _tokens;
    mapping(address token => uint256) private _indexes;
    mapping(bytes32 key => Accrual) private _accruals;
    /// @dev How much, without fees, had come in when it was last divided. Shares are taken of the sum of all that ever
    /// came, so that nobody's share depends on how often somebody asks.
    mapping(bytes32 key => uint256) private _bases;
    mapping(address account => mapping(address token => uint256)) private _owed;

    /// @notice Money came in.
    /// @param id of the track or release.
    /// @param token zero for the native coin.
    /// @param splitsHash of the splits that divide it.
    /// @param gross everything that came in, in base units.
    /// @param fee the DAO's part of it.
    event Accrued(bytes32 indexed id, address indexed token, bytes32 splitsHash, uint256 gross, uint256 fee);

    /// @notice Money was divided.
    /// @param id of the track or release.
    /// @param token zero for the native coin.
    /// @param splitsHash of the splits that divided it.
    /// @param amount divided among the collaborators.
    /// @param fee that went to the DAO.
    event Settled(bytes32 indexed id, address indexed token, bytes32 splitsHash, uint256 amount, uint256 fee);

    /// @notice An account is owed more.
    /// @param account whose.
    /// @param token zero for the native coin.
    /// @param id what earned it.
    /// @param amount base units.
    event Credited(address indexed account, address indexed token, bytes32 indexed id, uint256 amount);

    /// @notice An account was paid.
    /// @param account whose.
    /// @param token zero for the native coin.
    /// @param amount base units.
    event Withdrawn(address indexed account, address indexed token, uint256 amount);

    /// @notice The DAO lets a token in or out.
    /// @param token which.
    /// @param index its number for ever.
    /// @param allowed whether new prices may be in it.
    event TokenAllowed(address indexed token, uint8 index, bool allowed);

    /// @notice The caller may not do this.
    /// @param caller who.
    error NotAllowed(address caller);

    /// @notice The token is not on the DAO's list.
    /// @param token which, by its index.
    error TokenNotAllowed(uint256 token);

    /// @notice There is no room for more tokens, or a call names too many.
    error TooManyTokens();

    /// @notice The native amount sent is not the price.
    /// @param sent wei that came.
    /// @param wanted wei that were asked for.
    error WrongPayment(uint256 sent, uint256 wanted);

    /// @notice The token did not deliver what was to be paid: one that takes a fee, for example.
    /// @param received base units that arrived.
    /// @param wanted base units that were asked for.
    error ShortPayment(uint256 received, uint256 wanted);

    /// @notice A receiver refused its native coin; it stays owed.
    /// @param account who.
    error PaymentRefused(address account);

    /// @param dao_ the DAO's timelock.
    constructor(address dao_) {
        if (dao_ == address(0)) revert NotAllowed(dao_);
        dao = dao_;
        _tokens.push(Token(address(0), true));
        emit TokenAllowed(address(0), NATIVE, true);
    }

    modifier onlyDao() {
        if (msg.sender != dao) revert NotAllowed(msg.sender);
        _;
    }

    /// @notice Let a token in, or stop new prices in it. Money in it that is here stays payable.
    /// @dev Tokens that take fees, rebase or call back must not be let in; payments in them fail or harm
    /// only those who are paid in them.
    /// @param token an ERC-20.
    /// @param allowed whether new prices may be in it.
    /// @return index its number for ever.
    function setToken(address token, bool allowed) external onlyDao returns (uint8 index) {
        if (token == address(0) || token.code.length == 0) revert TokenNotAllowed(uint160(token));
        uint256 found = _indexes[token];
        if (found == 0) {
            found = _tokens.length;
            if (found >= TOKENS_MAX) revert TooManyTokens();
            _indexes[token] = found;
            _tokens.push(Token(token, allowed));
        } else {
            _tokens[found].allowed = allowed;
        }
        index = uint8(found);
        emit TokenAllowed(token, index, allowed);
    }

    /// @notice Divide what an id has earned under one list of splits. Anybody may ask; asking again does nothing.
    /// @dev Each collaborator gets its part of all that ever came under the list, rounded down, less what it got
    /// before; what is left over, less than a unit for each, waits. A list under which nothing was earned divides
    /// nothing.
    /// @param id of the track or release.
    /// @param splits the list whose hash the money was earned under.
    /// @param token zero for the native coin.
    function settle(bytes32 id, Split[] calldata splits, address token) external nonReentrant {
        bytes32 splitsHash = Splits.check(splits);
        bytes32 key = _key(id, splitsHash, token);
        Accrual memory waiting = _accruals[key];
        uint256 net = waiting.gross - waiting.fee;
        uint256 base = _bases[key];
        // What waits holds the left-over of the last time, which `base` counts already.
        uint256 total = _sumOfParts(splits, base) + net;
        uint256 divided;
        for (uint256 i; i < splits.length; ++i) {
            uint256 part = _partOf(total, splits[i].bps) - _partOf(base, splits[i].bps);
            if (part == 0) continue;
            divided += part;
            _credit(splits[i].account, token, id, part);
        }
        if (divided == 0 && waiting.fee == 0) return;
        if (waiting.fee != 0) _credit(dao, token, id, waiting.fee);
        _accruals[key] = Accrual((net - divided).toUint128(), 0);
        _bases[key] = total;
        emit Settled(id, token, splitsHash, divided, waiting.fee);
    }

    /// @notice Pay an account what it is owed. Anybody may ask; only the account is paid.
    /// @param account whose money.
    /// @param token zero for the native coin.
    /// @return amount paid.
    function withdraw(address account, address token) external nonReentrant returns (uint256 amount) {
        return _withdraw(account, token);
    }

    /// @notice Pay an account what it is owed in several tokens.
    /// @param account whose money.
    /// @param which tokens, at most as many as there are numbers; zero for the native coin.
    function withdrawMany(address account, address[] calldata which) external nonReentrant {
        uint256 count = which.length;
        if (count > TOKENS_MAX) revert TooManyTokens();
        for (uint256 i; i < count; ++i) {
            _withdraw(account, which[i]);
        }
    }

    /// @notice Return what an id has earned and not divided yet.
    /// @param id of the track or release.
    /// @param splitsHash of the splits in force when it came.
    /// @param token zero for the native coin.
    /// @return gross everything, in base units.
    /// @return fee the DAO's part of it.
    function accrual(bytes32 id, bytes32 splitsHash, address token) external view returns (uint128 gross, uint128 fee) {
        Accrual storage found = _accruals[_key(id, splitsHash, token)];
        return (found.gross, found.fee);
    }

    /// @notice Return what an account may withdraw.
    /// @param account whose.
    /// @param token zero for the native coin.
    /// @return amount in base units.
    function owed(address account, address token) external view returns (uint256 amount) {
        return _owed[account][token];
    }

    /// @notice Return a token by its number.
    /// @param index from 0, the native coin.
    /// @return token its address, zero for the native coin.
    /// @return allowed whether new prices may be in it.
    function tokens(uint8 index) external view returns (address token, bool allowed) {
        if (index >= _tokens.length) revert TokenNotAllowed(index);
        Token storage found = _tokens[index];
        return (found.token, found.allowed);
    }

    /// @notice Return how many tokens have a number.
    /// @return count the native coin included.
    function tokenCount() external view returns (uint256 count) {
        return _tokens.length;
    }

    /// @dev Return the address of a token that new prices may be in.
    function _allowedToken(uint8 index) internal view returns (address token) {
        if (index == NATIVE) return address(0);
        if (index >= _tokens.length || !_tokens[index].allowed) revert TokenNotAllowed(index);
        return _tokens[index].token;
    }

    /// @dev Return the address of a token that has a number.
    function _tokenAt(uint8 index) internal view returns (address token) {
        return index == NATIVE ? address(0) : _tokens[index].token;
    }

    /// @dev Take a payment from the caller: exactly the native amount, or a token that delivers all of it.
    function _pull(address token, uint256 amount) internal {
        if (token == address(0)) {
            if (msg.value != amount) revert WrongPayment(msg.value, amount);
            return;
        }
        if (msg.value != 0) revert WrongPayment(msg.value, 0);
        _pullToken(token, amount);
    }

    /// @dev Take a token from the caller, all of it.
    function _pullToken(address token, uint256 amount) internal {
        if (amount == 0) return;
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received < amount) revert ShortPayment(received, amount);
    }

    /// @dev Write down money that came in for an id.
    function _accrue(bytes32 id, bytes32 splitsHash, address token, uint256 gross, uint256 fee) internal {
        bytes32 key = _key(id, splitsHash, token);
        Accrual memory found = _accruals[key];
        _accruals[key] = Accrual((found.gross + gross).toUint128(), (found.fee + fee).toUint128());
    }

    /// @dev Owe an account money that is here.
    function _credit(address account, address token, bytes32 id, uint256 amount) internal {
        _owed[account][token] += amount;
        emit Credited(account, token, id, amount);
    }

    function _withdraw(address account, address token) private returns (uint256 amount) {
        amount = _owed[account][token];
        if (amount == 0) return 0;
        _owed[account][token] = 0;
        emit Withdrawn(account, token, amount);
        if (token == address(0)) {
            // What the receiver answers is not copied: a long answer would cost whoever asked for the payment.
            if (!LowLevelCall.callNoReturn(account, amount, "")) revert PaymentRefused(account);
        } else {
            IERC20(token).safeTransfer(account, amount);
        }
    }

    function _sumOfParts(Split[] calldata splits, uint256 amount) private pure returns (uint256 sum) {
        if (amount == 0) return 0;
        for (uint256 i; i < splits.length; ++i) {
            sum += _partOf(amount, splits[i].bps);
        }
    }

    function _partOf(uint256 amount, uint16 bps) private pure returns (uint256 part) {
        return (amount * bps) / Splits.WHOLE_BPS;
    }

    function _key(bytes32 id, bytes32 splitsHash, address token) private pure returns (bytes32 key) {
        return keccak256(abi.encode(id, splitsHash, token));
    }
}
