// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title TestToken
/// @notice A well-behaved token with six decimals, for tests: anybody mints.
contract TestToken is ERC20Permit {
    constructor() ERC20("Test Dollar", "TUSD") ERC20Permit("Test Dollar") {}

    /// @notice Make tokens.
    /// @param to gets them.
    /// @param amount base units.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Return the number of decimals.
    /// @return count six, like most dollars.
    function decimals() public pure override returns (uint8 count) {
        return 6;
    }
}
