"""Where settings come from: defaults < profile < file < environment < flags.

Each source may only name known keys; the nearest known key is suggested for a typo. The origin of every
value is kept for ``marina config show --origin``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from marina.errors import MalformedError, UsageError
from marina.ids import parse_account
from node.settings import PROFILES, ApiSettings, Settings
from node.settings_file import flatten, read_file, write_value
from node.settings_schema import SettingKey, all_keys, did_you_mean, find_key
from storage.kubo.address import parse_address

CONFIG_NAME = "config.toml"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:]+\](:\d{1,5})?")
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as it stands.

    Attributes:
        key: name, ``storage.quota``.
        value: as people write it.
        origin: ``default``, ``profile development``, the file's path, the variable's name or ``flag``.
    """

    key: str
    value: str | int | bool | list[str]
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings and where each came from, in the order of ``settings.py``."""

    settings: Settings
    origins: tuple[Origin, ...]


def load_settings(
    home: Path, *, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> LoadedSettings:
    """Return the settings of a home. Reads one small file; call it before the loop starts.

    Args:
        home: directory with ``config.toml``; neither needs to exist.
        environ: variables to look at, normally ``os.environ``.
        flags: key → value from the command line; None values are ignored.

    Raises:
        UsageError: unknown key, a value that does not fit, or a combination that is refused.
    """
    file_path = home / CONFIG_NAME
    sources: list[tuple[str, dict[str, object]]] = [
        (str(file_path), flatten(read_file(file_path))),
        *_from_environ(environ or {}),
        ("flag", {key: value for key, value in (flags or {}).items() if value is not None}),
    ]
    profile = "production"
    for origin, values in sources:
        if "profile" in values:
            profile = str(_parse("profile", values["profile"], origin))
    sources.insert(0, (f"profile {profile}", dict(PROFILES[profile])))
    found: dict[str, tuple[object, str]] = {}
    for origin, values in sources:
        for name, raw in values.items():
            found[name] = (_parse(name, raw, origin), origin)
    settings = _build({name: value for name, (value, _) in found.items()})
    check_settings(settings)
    origins = tuple(_origin(key, settings, found.get(name)) for name, key in all_keys().items())
    return LoadedSettings(settings, origins)


def set_value(home: Path, name: str, text: str) -> Origin:
    """Write one setting into the home's file and return it as it stands there.

    Raises:
        UsageError: unknown key, unfit value, refused combination, or a file that needs a human.
        StorageError: the disk refused.
    """
    key = find_key(name)
    value = key.parse(text)
    others = flatten(read_file(home / CONFIG_NAME))
    parsed = {each: _parse(each, raw, CONFIG_NAME) for each, raw in others.items()}
    check_settings(_build({**parsed, name: value}))
    write_value(home / CONFIG_NAME, key, value)
    return Origin(name, key.to_file(value), str(home / CONFIG_NAME))


def unset_value(home: Path, name: str) -> None:
    """Remove one setting from the home's file, so that its default holds again; errors as set_value."""
    write_value(home / CONFIG_NAME, find_key(name), None)


def check_settings(settings: Settings) -> None:
    """Return if the settings fit together.

    Raises:
        UsageError: they do not; the message says which and how to mend it.
    """
    _check_api(settings.api)
    if settings.operator.offered_bytes > settings.storage.quota_bytes and settings.operator.accept_pledges:
        raise UsageError(
            "operator.offered is above storage.quota: offer less, or raise the quota with "
            "'marina config set storage.quota SIZE'"
        )
    for account in settings.operator.accept_from:
        try:
            parse_account(account)
        except MalformedError as err:
            raise UsageError(
                f"operator.accept_from: {account!r:.80} is no account: 'marina id' prints one"
            ) from err
    if settings.operator.denylist and not Path(settings.operator.denylist).is_absolute():
        raise UsageError(
            f"operator.denylist: {settings.operator.denylist!r:.80} must be the whole path of a file"
        )
    _check_host("gateway.host", settings.gateway.host)
    _check_ipfs(settings)
    for address in settings.swarm.listen:
        if not re.fullmatch(r"/(ip4|ip6|dns4|dns6)/[^/]+/tcp/\d{1,5}", address):
            raise UsageError(f"swarm.listen: {address!r} is not like /ip4/0.0.0.0/tcp/4001")
    for address in settings.swarm.bootstrap:
        if not re.fullmatch(r"/(ip4|ip6|dns|dns4|dns6)/[^/]+/tcp/\d{1,5}/p2p/[1-9A-HJ-NP-Za-km-z]+", address):
            raise UsageError(
                f"swarm.bootstrap: {address!r} is not like /ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…"
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an API bound to ``host``."""
    if host == "loopback":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_ipfs(settings: Settings) -> None:
    if settings.storage.backend == "kubo" and not settings.ipfs.kubo:
        raise UsageError(
            "storage.backend is kubo and ipfs.kubo names no node: pair with one first, 'marina ipfs pair URL'"
        )
    if settings.ipfs.kubo:
        try:
            parse_address(settings.ipfs.kubo)
        except MalformedError as err:
            raise UsageError(f"ipfs.kubo: {err}") from err
    if settings.ipfs.token_file and not Path(settings.ipfs.token_file).is_absolute():
        raise UsageError(
            f"ipfs.token_file: {settings.ipfs.token_file!r:.80} must be the whole path of a file"
        )


def _check_host(name: str, host: str) -> None:
    if host != "loopback":
        try:
            ip_address(host)
        except ValueError as err:
            raise UsageError(f"{name}: {host!r} is neither 'loopback' nor an IP address") from err


def _check_api(api: ApiSettings) -> None:
    _check_host("api.host", api.host)
    if bool(api.tls_certificate) != bool(api.tls_key):
        raise UsageError("api.tls_certificate and api.tls_key go together: set both or none")
    if not is_loopback(api.host) and not (api.allow_remote and api.tls_certificate):
        raise UsageError(
            f"api.host {api.host} can be reached by other machines: that needs api.allow_remote = true "
            "and a certificate (api.tls_certificate, api.tls_key)"
        )
    for origin in api.origins:
        if not _ORIGIN.fullmatch(origin):
            raise UsageError(
                f"api.origins: {origin!r} is not one exact origin like https://radio.example:8443"
            )
    for host in api.hosts:
        if not _HOST.fullmatch(host):
            raise UsageError(f"api.hosts: {host!r} is not like music.example:7787")


def _from_environ(environ: Mapping[str, str]) -> list[tuple[str, dict[str, object]]]:
    keys = all_keys()
    by_env = {key.env_name: name for name, key in keys.items()}
    sections = tuple({f"MARINA_{key.section.upper()}_" for key in keys.values() if key.section})
    found: list[tuple[str, dict[str, object]]] = []
    for variable, text in environ.items():
        if variable in by_env:
            found.append((variable, {by_env[variable]: text}))
        elif variable.startswith(sections):
            guess = variable.removeprefix("MARINA_").lower().replace("_", ".", 1)
            near = did_you_mean(guess, keys)
            raise UsageError(f"the variable {variable[:80]} sets nothing{near}")
    return found


def _parse(name: str, raw: object, origin: str) -> object:
    try:
        return find_key(name).parse(raw)
    except UsageError as err:
        raise UsageError(f"{origin}: {err}") from err


def _build(values: dict[str, object]) -> Settings:
    keys = all_keys()
    changes: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        key = keys[name]
        changes.setdefault(key.section, {})[key.attribute] = value
    base = Settings()
    parts: dict[str, Any] = dict(changes.pop("", {}))
    for section, attributes in changes.items():
        parts[section] = dataclasses.replace(cast("Any", getattr(base, section)), **attributes)
    settings = dataclasses.replace(base, **parts)
    return settings if "operator.offered" in values else _with_fitting_offer(settings)


def _with_fitting_offer(settings: Settings) -> Settings:
    """Offer no more than half of the quota where nobody said how much, so that every quota works."""
    offered_bytes = min(settings.operator.offered_bytes, settings.storage.quota_bytes // 2)
    operator = dataclasses.replace(settings.operator, offered_bytes=offered_bytes)
    return dataclasses.replace(settings, operator=operator)


def _origin(key: SettingKey, settings: Settings, found: tuple[object, str] | None) -> Origin:
    section = getattr(settings, key.section) if key.section else settings
    value, origin = found if found is not None else (getattr(section, key.attribute), "default")
    return Origin(key.name, key.to_file(value), origin)
