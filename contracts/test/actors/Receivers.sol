// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IHooked, HookToken} from "../tokens/HostileTokens.sol";

/// @title Attacker
/// @notice Makes one prepared call, whatever calls it: as it is paid, in a token's hook, as an edition arrives.
contract Attacker is IHooked {
    /// @notice How often it was called back.
    uint256 public calls;

    /// @notice Whether its own call ever succeeded.
    bool public succeeded;

    /// @notice What its own call answered last.
    bytes public answer;

    address private _target;
    uint256 private _value;
    bytes private _data;

    /// @notice Prepare the call.
    /// @param target which contract.
    /// @param value wei to send.
    /// @param data call data.
    function prepare(address target, uint256 value, bytes calldata data) external {
        (_target, _value, _data) = (target, value, data);
    }

    /// @notice Call anything in this contract's name.
    /// @param target which contract.
    /// @param value wei to send.
    /// @param data call data.
    /// @return result what it answered.
    function act(address target, uint256 value, bytes calldata data) external returns (bytes memory result) {
        bool done;
        (done, result) = target.call{value: value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(result, 32), mload(result))
            }
        }
    }

    /// @notice Ask a token to be called back.
    /// @param token which.
    /// @param spender who may take all of its tokens.
    function hook(HookToken token, address spender) external {
        token.hook();
        token.approve(spender, type(uint256).max);
    }

    /// @inheritdoc IHooked
    function onTransfer() external {
        _attack();
    }

    /// @notice An edition arrives (ERC-1155).
    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external returns (bytes4 magic) {
        _attack();
        return this.onERC1155Received.selector;
    }

    receive() external payable {
        _attack();
    }

    function _attack() private {
        ++calls;
        if (_target == address(0)) return;
        bool done;
        (done, answer) = _target.call{value: _value}(_data);
        succeeded = succeeded || done;
    }
}

/// @title Refuser
/// @notice Takes no native coin.
contract Refuser {
    receive() external payable {
        revert("no");
    }
}

/// @title Bomb
/// @notice Answers a payment with a megabyte.
contract Bomb {
    receive() external payable {
        assembly ("memory-safe") {
            return(0, 1000000)
        }
    }
}

/// @title Wallet
/// @notice An account that is a contract: one key signs for it (ERC-1271).
contract Wallet is IERC1271 {
    address private immutable _signer;

    constructor(address signer) {
        _signer = signer;
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 digest, bytes memory signature) external view returns (bytes4 magic) {
        (address found,,) = ECDSA.tryRecover(digest, signature);
        return found == _signer ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// @title LiarWallet
/// @notice Answers a check of a signature with something that is not the answer.
contract LiarWallet {
    /// @notice Answer something else.
    function isValidSignature(bytes32, bytes memory) external pure returns (uint256 nonsense) {
        return 1;
    }
}
