"""Settings: where they come from, what is refused, and how the file is changed."""

from __future__ import annotations

import dataclasses
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.errors import UsageError
from node.settings import Settings
from node.settings_load import load_settings, set_value, unset_value
from node.settings_schema import all_keys
from node.units import format_rate, format_size, format_span, parse_rate, parse_size, parse_span_s

DOCS = Path(__file__).parents[3] / "docs" / "settings.md"


def write(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text)


def test_an_empty_home_has_the_defaults_with_everything_private_and_local(tmp_path):
    loaded = load_settings(tmp_path)
    assert loaded.settings == Settings()
    assert not any(dataclasses.asdict(loaded.settings.privacy).values())
    assert loaded.settings.api.host == "loopback"
    assert {each.origin for each in loaded.origins} == {"default"}


def test_each_source_overrides_the_one_before_and_is_named_as_the_origin(tmp_path):
    def quota(**more) -> tuple[int, str]:
        loaded = load_settings(tmp_path, **more)
        (origin,) = [each for each in loaded.origins if each.key == "storage.quota"]
        return loaded.settings.storage.quota_bytes, origin.origin

    environ = {"MARINA_STORAGE_QUOTA": "3GB", "MARINA_PROFILE": "development", "PATH": "/bin"}
    flags = {"storage.quota": "4GB", "api.port": None}
    assert quota() == (20 * 10**9, "default")
    assert quota(environ={"MARINA_PROFILE": "development"}) == (2 * 10**9, "profile development")
    write(tmp_path, 'profile = "staging"\n[storage]\nquota = "1GB"\n')
    assert quota() == (10**9, str(tmp_path / "config.toml"))
    assert quota(environ=environ) == (3 * 10**9, "MARINA_STORAGE_QUOTA")
    assert quota(environ=environ, flags=flags) == (4 * 10**9, "flag")
    assert load_settings(tmp_path).settings.profile == "staging"
    assert load_settings(tmp_path, environ=environ).settings.swarm.listen == ("/ip4/127.0.0.1/tcp/0",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[storage]\nqouta = "1GB"', "did you mean 'storage.quota'"),
        ('[storge]\nquota = "1GB"', "did you mean 'storage.quota'"),
        ("quota = 1", "did you mean 'storage.quota'"),
        ('[storage]\nquota = "much"', "write it like 500MB"),
        ("[storage]\nquota = true", "storage.quota"),
        ("[api]\nport = 70000", "0 to 65535"),
        ('[api]\nport = "http"', "auto, or a whole number"),
        ('[log]\nlevel = "LOUD"', "DEBUG, INFO, WARNING or ERROR"),
        ("[privacy]\nshare_likes = 1", "true or false"),
        ('[api]\nhost = "0.0.0.0"', "api.allow_remote = true"),
        ('[api]\nhost = "music.example"', "neither 'loopback' nor an IP address"),
        ('[api]\ntls_key = "k.pem"', "go together"),
        ('[api]\norigins = ["*"]', "exact origin"),
        ('[api]\norigins = ["null"]', "exact origin"),
        ('[swarm]\nbootstrap = ["/ip4/10.0.0.1/tcp/4001"]', "/p2p/"),
        ('[swarm]\nlisten = ["0.0.0.0:4001"]', "/ip4/0.0.0.0/tcp/4001"),
        ('[operator]\naccept_pledges = true\noffered = "30GB"', "above storage.quota"),
        ("[storage", "not valid TOML"),
        ('profile = "prod"', "development, staging or production"),
        ('[api]\nhost = "a\\u0007"', "control characters"),
    ],
)
def test_what_does_not_fit_is_refused_in_plain_words(tmp_path, text, words):
    write(tmp_path, text)
    with pytest.raises(UsageError, match=words.replace("(", r"\(").replace("/", "/")):
        load_settings(tmp_path)


def test_a_variable_that_sets_nothing_is_refused_and_foreign_ones_are_not_looked_at(tmp_path):
    with pytest.raises(UsageError, match=r"MARINA_API_PROT sets nothing: did you mean 'api\.port'"):
        load_settings(tmp_path, environ={"MARINA_API_PROT": "1"})
    load_settings(tmp_path, environ={"MARINA_HOME": "/x", "MARINA_FUZZ_RUNS": "9"})


def test_a_list_in_a_variable_is_separated_by_commas(tmp_path):
    environ = {"MARINA_API_ORIGINS": "https://a.example, https://b.example:8443"}
    assert load_settings(tmp_path, environ=environ).settings.api.origins == (
        "https://a.example",
        "https://b.example:8443",
    )


def test_setting_a_value_keeps_comments_order_and_everything_else(tmp_path):
    text = (
        "# my node\n"
        'profile = "staging"  # trying it out\n\n'
        "[swarm]\n# friends\nbootstrap = [\n"
        '  "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWAda",  # ada\n'
        "]\nlan_discovery = false\n\n"
        "[storage]\n"
        'quota = "1GB" # small disk\n'
    )
    write(tmp_path, text)
    set_value(tmp_path, "storage.quota", "2.5GB")
    set_value(tmp_path, "swarm.bootstrap", "")
    set_value(tmp_path, "swarm.upload_cap", "40Mbit")
    set_value(tmp_path, "privacy.share_likes", "on")
    set_value(tmp_path, "log.level", "debug")
    after = (tmp_path / "config.toml").read_text()
    assert "# my node" in after
    assert "# trying it out" in after
    assert "# friends" in after
    assert tomllib.loads(after) == {
        "profile": "staging",
        "swarm": {"lan_discovery": False, "bootstrap": [], "upload_cap": "40Mbit"},
        "storage": {"quota": "2500MB"},
        "privacy": {"share_likes": True},
        "log": {"level": "DEBUG"},
    }
    assert stat.S_IMODE((tmp_path / "config.toml").stat().st_mode) == 0o600
    unset_value(tmp_path, "storage.quota")
    assert load_settings(tmp_path).settings.storage.quota_bytes == 5 * 10**9


def test_a_refused_value_leaves_the_file_alone(tmp_path):
    write(tmp_path, "[storage]\nbackups_kept = 3\n")
    for name, text in [("api.host", "0.0.0.0"), ("storage.quota", "?"), ("storage.qouta", "1GB")]:
        with pytest.raises(UsageError):
            set_value(tmp_path, name, text)
    assert (tmp_path / "config.toml").read_text() == "[storage]\nbackups_kept = 3\n"


def test_a_file_that_cannot_be_changed_safely_is_left_to_its_owner(tmp_path):
    write(tmp_path, 'storage = { quota = "1GB" }\n')
    with pytest.raises(UsageError, match="by hand"):
        set_value(tmp_path, "storage.quota", "2GB")
    assert (tmp_path / "config.toml").read_text() == 'storage = { quota = "1GB" }\n'


def test_every_key_survives_being_written_and_read(tmp_path):
    for key in all_keys().values():
        value = key.default
        assert key.parse(key.to_file(value)) == value, key.name


def test_the_page_about_settings_lists_every_key_with_its_default():
    rows = [line.split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    listed = {row[0].strip("| `"): row[2] for row in rows if len(row) == 4}
    assert list(listed) == list(all_keys())
    for key in all_keys().values():
        shown = key.to_file(key.default)
        texts = (
            shown if isinstance(shown, list) else [str(shown).lower() if isinstance(shown, bool) else shown]
        )
        wanted = ", ".join(f"`{text}`" for text in texts if text != "") or "empty"
        assert listed[key.name] == wanted


@given(st.integers(min_value=0, max_value=1 << 50))
def test_sizes_survive_their_text(size_bytes):
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.integers(min_value=1, max_value=10**12), st.integers(min_value=1, max_value=10 * 365 * 86_400))
def test_rates_and_spans_survive_their_text(rate, span_s):
    assert parse_rate(format_rate(float(rate))) == float(rate)
    assert parse_span_s(format_span(span_s)) == span_s


def test_units_read_as_people_write_them():
    assert parse_size("20GB") == parse_size("20 gb") == 20_000_000_000
    assert parse_size("1.5GiB") == 1_610_612_736
    assert parse_rate("40Mbit") == parse_rate("40mbit/s") == 5_000_000
    assert parse_rate("5MB/s") == 5_000_000
    assert parse_rate("off") is None
    assert parse_span_s("15m") == 900
    for bad in ("-1GB", "1e9", "٣GB", "", "GB", "0s", "1" * 40):
        with pytest.raises(UsageError):
            parse_span_s(bad)
        with pytest.raises(UsageError):
            parse_rate(bad)


def test_the_offer_to_operators_fits_any_quota_unless_it_is_set(tmp_path: Path) -> None:
    set_value(tmp_path, "operator.accept_pledges", "true")
    set_value(tmp_path, "storage.quota", "3GB")
    loaded = load_settings(tmp_path)
    assert loaded.settings.operator.offered_bytes == 1_500_000_000
    shown = {each.key: each for each in loaded.origins}["operator.offered"]
    assert (shown.value, shown.origin) == ("1500MB", "default")
    with pytest.raises(UsageError, match=r"operator\.offered is above"):
        set_value(tmp_path, "operator.offered", "4GB")
