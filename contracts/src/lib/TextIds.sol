// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title TextIds
/// @notice The text forms of ids: `tr_…` and `rl_…` are a prefix and 32 bytes in lower-case base32 without padding.
library TextIds {
    bytes32 private constant ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

    /// @notice Characters of 32 bytes in base32.
    uint256 internal constant BODY_CHARS = 52;

    /// @notice A text is not an id in canonical form.
    error InvalidTextId();

    /// @notice Return the id of its text.
    /// @param text `tr_…` or `rl_…`.
    /// @return id its 32 bytes.
    function parse(string calldata text) internal pure returns (bytes32 id) {
        bytes calldata raw = bytes(text);
        if (raw.length != BODY_CHARS + 3 || raw[2] != "_") revert InvalidTextId();
        if (!(raw[0] == "t" && raw[1] == "r") && !(raw[0] == "r" && raw[1] == "l")) revert InvalidTextId();
        uint256 value;
        for (uint256 i; i < BODY_CHARS - 1; ++i) {
            value = (value << 5) | _digit(raw[3 + i]);
        }
        // 51 characters hold 255 bits: of the last one only the first bit counts, and the others are zero.
        uint256 last = _digit(raw[2 + BODY_CHARS]);
        if (last & 0xf != 0) revert InvalidTextId();
        return bytes32((value << 1) | (last >> 4));
    }

    /// @notice Return the text of a track's or release's id, always with the prefix of tracks.
    /// @param id its 32 bytes.
    /// @return text `tr_…`.
    function format(bytes32 id) internal pure returns (string memory text) {
        return string.concat("tr_", string(base32(abi.encodePacked(id))));
    }

    /// @notice Return bytes in lower-case base32 without padding (RFC 4648).
    /// @param data what to write.
    /// @return text its characters.
    function base32(bytes memory data) internal pure returns (bytes memory text) {
        uint256 length = (data.length * 8 + 4) / 5;
        text = new bytes(length);
        uint256 buffer;
        uint256 bits;
        uint256 next;
        for (uint256 i; i < data.length; ++i) {
            buffer = (buffer << 8) | uint8(data[i]);
            bits += 8;
            while (bits >= 5) {
                bits -= 5;
                text[next++] = ALPHABET[(buffer >> bits) & 31];
            }
        }
        if (bits > 0) text[next] = ALPHABET[(buffer << (5 - bits)) & 31];
    }

    function _digit(bytes1 char) private pure returns (uint256 digit) {
        uint8 code = uint8(char);
        if (code >= 0x61 && code <= 0x7a) return code - 0x61;
        if (code >= 0x32 && code <= 0x37) return code - 0x32 + 26;
        revert InvalidTextId();
    }
}
