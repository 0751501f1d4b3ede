// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title FeeToken
/// @notice Keeps one percent of whatever is transferred.
contract FeeToken is ERC20("Fee", "FEE") {
    /// @notice Make tokens.
    /// @param to gets them.
    /// @param amount base units.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (from == address(0) || to == address(0)) return super._update(from, to, amount);
        uint256 fee = amount / 100;
        super._update(from, address(this), fee);
        super._update(from, to, amount - fee);
    }
}

/// @title HookToken
/// @notice Calls its sender and its receiver in the middle of a transfer, as ERC-777 does, if they asked for it.
contract HookToken is ERC20("Hook", "HOOK") {
    /// @notice Who is called.
    mapping(address account => bool) public isHooked;

    /// @notice Make tokens.
    /// @param to gets them.
    /// @param amount base units.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Ask to be called.
    function hook() external {
        isHooked[msg.sender] = true;
    }

    /// @notice A permit that calls back and gives nothing.
    function permit(address owner, address, uint256, uint256, uint8, bytes32, bytes32) external {
        if (isHooked[owner]) IHooked(owner).onTransfer();
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (isHooked[from]) IHooked(from).onTransfer();
        super._update(from, to, amount);
        if (isHooked[to]) IHooked(to).onTransfer();
    }
}

/// @notice What a HookToken calls.
interface IHooked {
    /// @notice A transfer is going on.
    function onTransfer() external;
}

/// @title FalseToken
/// @notice Answers false where others revert.
contract FalseToken is ERC20("False", "FALSE") {
    /// @notice Whether every transfer fails.
    bool public isBroken;

    /// @notice Make tokens.
    /// @param to gets them.
    /// @param amount base units.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Break it, or mend it.
    /// @param broken whether every transfer fails.
    function setBroken(bool broken) external {
        isBroken = broken;
    }

    /// @inheritdoc ERC20
    function transfer(address to, uint256 amount) public override returns (bool done) {
        if (isBroken || balanceOf(msg.sender) < amount) return false;
        return super.transfer(to, amount);
    }

    /// @inheritdoc ERC20
    function transferFrom(address from, address to, uint256 amount) public override returns (bool done) {
        if (isBroken || balanceOf(from) < amount || allowance(from, msg.sender) < amount) return false;
        return super.transferFrom(from, to, amount);
    }
}

/// @title LyingToken
/// @notice Says that it transferred and does nothing.
contract LyingToken is ERC20("Lie", "LIE") {
    /// @inheritdoc ERC20
    function transferFrom(address, address, uint256) public pure override returns (bool done) {
        return true;
    }
}

/// @title SilentToken
/// @notice Works, but answers nothing at all, as some old ones do.
contract SilentToken {
    /// @notice What an account holds.
    mapping(address account => uint256) public balanceOf;

    /// @notice What one account may take from another.
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    /// @notice Make tokens.
    /// @param to gets them.
    /// @param amount base units.
    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    /// @notice Let somebody take; a change needs zero in between.
    /// @param spender who may.
    /// @param amount base units.
    function approve(address spender, uint256 amount) external {
        require(amount == 0 || allowance[msg.sender][spender] == 0);
        allowance[msg.sender][spender] = amount;
    }

    /// @notice Send.
    /// @param to gets them.
    /// @param amount base units.
    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    /// @notice Take.
    /// @param from loses them.
    /// @param to gets them.
    /// @param amount base units.
    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @title RebasingToken
/// @notice Everybody's balance grows and shrinks by a factor.
contract RebasingToken is ERC20("Rebase", "REB") {
    /// @notice Percent of what was minted that a balance shows.
    uint256 public percent = 100;

    /// @notice Make tokens.
    /// @param to gets them.
    /// @param amount base units at 100 percent.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Change everybody's balance.
    /// @param percent_ of what was minted.
    function rebase(uint256 percent_) external {
        percent = percent_;
    }

    /// @inheritdoc ERC20
    function balanceOf(address account) public view override returns (uint256 amount) {
        return (super.balanceOf(account) * percent) / 100;
    }

    function _update(address from, address to, uint256 amount) internal override {
        bool isTransfer = from != address(0) && to != address(0);
        super._update(from, to, isTransfer ? (amount * 100) / percent : amount);
    }
}
