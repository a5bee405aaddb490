"""Settings: one TOML file, variables that win over it, and mistakes named in one line."""

from pathlib import Path

import msgspec
import pytest
from livepin.errors import ConfigurationError
from livepin_server.settings import (
    FILE,
    Settings,
    database_url,
    mail_server,
    parse,
    render,
    with_database,
)

ROOT = Path(__file__).parents[3]
URLS = 'delivery_urls = ["https://pins.example.com:8443"]\n'

CHOSEN = {
    "delivery_urls": ["https://a.example.com", "https://b.example.com:8443/pins"],
    "recovery_urls": ["http://cdn.example.com", "https://cdn.example.org"],
    "delivery_host": "192.0.2.1",
    "delivery_port": 443,
    "management_host": "::1",
    "management_port": 0,
    "database": "sqlite:////srv/livepin.db",
    "pkcs11_module": "/usr/lib/softhsm/libsofthsm2.so",
    "pkcs11_token": "acme",
    "export": ["/srv/www/livepin", "s3://bucket/prefix"],
    "refresh_interval": 60,
    "smtp": "smtp+starttls://livepin@mail.example.com:587",
    "smtp_from": "livepin@example.com",
    "log_level": "warning",
    "log_format": "text",
    "requests_per_second": 2.5,
    "monitoring": False,
    "max_endpoint_metrics": 500,
    "max_streams": 10,
    "max_streams_per_address": 3,
}


def test_the_table_of_this_test_holds_every_setting():
    assert {field.name for field in msgspec.structs.fields(Settings)} == CHOSEN.keys()


@pytest.mark.parametrize("name", CHOSEN)
def test_each_setting_is_in_the_guide_with_its_default(name):
    lines = (ROOT / "docs" / "operations.md").read_text("utf-8").splitlines()
    (row,) = [
        each for each in lines if each.startswith("| `") and f"`{name}`" in each.split("|")[1]
    ]
    default = getattr(Settings(delivery_urls=[]), name)
    if default is True:
        assert "| true |" in row
    elif default and name != "delivery_urls":
        assert (default if isinstance(default, str) else f"{default:g}") in row


@pytest.mark.parametrize("name", CHOSEN)
def test_each_setting_is_read_from_the_file(name):
    toml = f"{name} = {msgspec.json.encode(CHOSEN[name]).decode()}\n"
    found = parse(toml if name == "delivery_urls" else URLS + toml, {})
    assert getattr(found, name) == CHOSEN[name]


@pytest.mark.parametrize("name", CHOSEN)
def test_the_variable_of_each_setting_wins_over_the_file(name):
    value = CHOSEN[name]
    text = " ".join(value) if isinstance(value, list) else str(value)
    other = Settings(
        delivery_urls=["https://file.example.com"],
        recovery_urls=["https://file.example.net"],
        delivery_host="192.0.2.9",
        delivery_port=1,
        management_host="192.0.2.9",
        management_port=2,
        database="sqlite:///file.db",
        pkcs11_module="/file.so",
        pkcs11_token="file",
        export=["/srv/file"],
        refresh_interval=1,
        log_level="debug",
        requests_per_second=1,
        max_streams=1,
        max_streams_per_address=1,
    )
    found = parse(render(other), {f"LIVEPIN_{name.upper()}": text})
    assert getattr(found, name) == value


def test_only_delivery_urls_are_required_and_the_rest_is_safe():
    found = parse(URLS, {})
    assert found == Settings(delivery_urls=["https://pins.example.com:8443"])
    assert found.management_host == "127.0.0.1"  # management stays on this machine
    assert found.recovery_urls == []
    assert found.database is None


def test_variables_alone_are_enough():
    found = parse("", {"LIVEPIN_DELIVERY_URLS": "https://a.example.com  https://b.example.com"})
    assert found.delivery_urls == ["https://a.example.com", "https://b.example.com"]


@pytest.mark.parametrize(
    "name", ["DATA", "URL", "API_KEY", "CA", "MASTER_KEY", "ROOT_PASSPHRASE", "DEBUG"]
)
def test_variables_of_the_commands_are_no_settings(name):
    assert parse(URLS, {f"LIVEPIN_{name}": "x", "PATH": "/bin"}) == parse(URLS, {})


BAD = {
    "": "delivery_urls",
    "delivery_urls = []": "delivery_urls",
    'delivery_urls = "https://pins.example.com"': "delivery_urls",
    "delivery_urls = [1]": "delivery_urls",
    'delivery_urls = ["http://pins.example.com"]': "delivery_urls",
    'delivery_urls = ["https://user@pins.example.com"]': "delivery_urls",
    'delivery_urls = ["https://pins.example.com\\nX: y"]': "delivery_urls",
    URLS + 'recovery_urls = ["ftp://cdn.example.com"]': "recovery_urls",
    URLS + 'recovery_urls = ["http://cdn.example.com?q"]': "recovery_urls",
    URLS + "delivery_port = 65536": "delivery_port",
    URLS + "delivery_port = -1": "delivery_port",
    URLS + "delivery_port = 1.5": "delivery_port",
    URLS + "delivery_port = true": "delivery_port",
    URLS + 'management_port = "https"': "management_port",
    URLS + "delivery_host = 1": "delivery_host",
    URLS + "management_host = []": "management_host",
    URLS + "database = 5": "database",
    URLS + "refresh_interval = 0": "refresh_interval",
    URLS + "refresh_interval = 604801": "refresh_interval",
    URLS + 'log_level = "loud"': "log_level",
    URLS + 'log_format = "xml"': "log_format",
    URLS + "requests_per_second = 0": "requests_per_second",
    URLS + "requests_per_second = nan": "requests_per_second",
    URLS + "max_streams = 0": "max_streams",
    URLS + "max_streams_per_address = 0": "max_streams_per_address",
}


@pytest.mark.parametrize(("text", "name"), BAD.items())
def test_a_bad_value_is_one_line_that_names_it_and_a_hint(text, name):
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    assert str(caught.value).startswith(FILE)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint == f"mend {FILE}, then try again"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LIVEPIN_DELIVERY_PORT", "https"),
        ("LIVEPIN_DELIVERY_PORT", ""),
        ("LIVEPIN_DELIVERY_URLS", ""),
        ("LIVEPIN_DELIVERY_URLS", "http://pins.example.com"),
        ("LIVEPIN_LOG_LEVEL", "LOUD"),
        ("LIVEPIN_REQUESTS_PER_SECOND", "many"),
    ],
)
def test_a_bad_variable_is_named_and_not_the_file(variable, value):
    with pytest.raises(ConfigurationError) as caught:
        parse(URLS, {variable: value})
    assert str(caught.value).startswith(f"{variable}: ")
    assert caught.value.hint == "mend the variable, then try again"


NOT_TOML = {
    "no value": "delivery_urls =",
    "half a table": "[",
    "twice": "a = 1\na = 2",
    "nul": "\0",
    "all twice": URLS + URLS,
    "too many levels": "a = " + "[" * 10_000,
    "too many digits": URLS + "max_streams = " + "1" * 5_000,
    "too long": "a" + ".a" * 100_000 + " = 1",  # its parser would take all memory there is
}


@pytest.mark.parametrize("text", NOT_TOML.values(), ids=NOT_TOML)
def test_a_file_that_is_not_toml_is_one_line_and_a_hint(text):
    with pytest.raises(ConfigurationError, match=rf"^{FILE}: .+") as caught:
        parse(text, {})
    assert "\n" not in str(caught.value)
    assert caught.value.hint == f"mend {FILE}, then try again"


@pytest.mark.parametrize(
    ("delivery", "management", "apart"),
    [
        ("0.0.0.0", "127.0.0.1", False),
        ("0.0.0.0", "::", False),
        ("192.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", "localhost", False),
        ("::1", "0:0::1", False),
        ("192.0.2.1", "127.0.0.1", True),
        ("::1", "127.0.0.1", True),
    ],
)
def test_delivery_and_management_never_share_a_port(delivery, management, apart):
    hosts = f'delivery_host = "{delivery}"\nmanagement_host = "{management}"\n'
    found = parse(f"{URLS}{hosts}delivery_port = 0\nmanagement_port = 0\n", {})
    assert found.delivery_port == found.management_port == 0
    text = f"{URLS}{hosts}management_port = 8443\n"
    if apart:
        assert parse(text, {}).management_port == 8443
        return
    with pytest.raises(ConfigurationError, match="cannot both listen on port 8443") as caught:
        parse(text, {})
    assert caught.value.hint == "give management_port, or each its own address"


def test_a_misspelt_setting_suggests_the_nearest():
    with pytest.raises(ConfigurationError, match="no setting 'delivery_prot'") as caught:
        parse(URLS + "delivery_prot = 1", {})
    assert caught.value.hint == "did you mean delivery_port?"


def test_a_misspelt_variable_suggests_the_nearest():
    with pytest.raises(ConfigurationError, match="no variable LIVEPIN_DELIVERY_PROT") as caught:
        parse(URLS, {"LIVEPIN_DELIVERY_PROT": "1"})
    assert caught.value.hint == "did you mean LIVEPIN_DELIVERY_PORT?"


@pytest.mark.parametrize("name", ["zzz", "a\nb"])
def test_an_unknown_setting_lists_what_there_is(name):
    with pytest.raises(ConfigurationError) as caught:
        parse(URLS + f"{msgspec.json.encode(name).decode()} = 1", {})
    assert repr(name) in str(caught.value)
    assert caught.value.hint.startswith("there is delivery_urls, ")


def test_what_was_chosen_is_rendered_and_read_again():
    settings = Settings(**CHOSEN)
    assert parse(render(settings), {}) == settings


def test_defaults_are_not_rendered():
    text = render(Settings(delivery_urls=["https://pins.example.com"]))
    assert [line.split(" = ")[0] for line in text.splitlines()[2:]] == ["delivery_urls"]


def test_the_database_is_a_file_in_the_data_folder_unless_said(tmp_path):
    settings = Settings(delivery_urls=["https://pins.example.com"])
    assert database_url(settings, tmp_path) == f"sqlite:///{tmp_path}/livepin.db"
    elsewhere = msgspec.structs.replace(settings, database="sqlite:////srv/x.db")
    assert database_url(elsewhere, tmp_path) == "sqlite:////srv/x.db"


# -- export, and another database ----------------------------------------------------------------


def test_a_folder_to_export_to_does_not_depend_on_where_the_server_is_started():
    with pytest.raises(ConfigurationError, match="expected an absolute path or a URL") as caught:
        parse(URLS + 'export = ["www"]', {})
    assert caught.value.hint == f"mend {FILE}, then try again"
    with pytest.raises(ConfigurationError, match="LIVEPIN_EXPORT: expected an absolute"):
        parse(URLS, {"LIVEPIN_EXPORT": "/srv/www www"})


URL = "postgresql+psycopg://livepin@db.example.com/livepin"


@pytest.mark.parametrize(
    "line", ["", 'database = "sqlite:///x.db"\n', "  database='x'\n", 'database=""\n']
)
@pytest.mark.parametrize("url", [None, URL])
def test_another_database_is_named_and_the_other_lines_stay(line, url):
    text = f"# by hand\n{line}{URLS}max_streams = 7\n"
    found = with_database(text, url)
    assert parse(found, {}) == Settings(
        delivery_urls=["https://pins.example.com:8443"], max_streams=7, database=url
    )
    assert "# by hand" in found


# -- mail ----------------------------------------------------------------------------------------


def mail(url, sender="livepin@example.com", password=None):
    text = f"{URLS}smtp = {msgspec.json.encode(url).decode()}\nsmtp_from = '{sender}'\n"
    return mail_server(parse(text, {"LIVEPIN_SMTP_PASSWORD": password or ""}), password)


@pytest.mark.parametrize(
    ("url", "security", "port", "user"),
    [
        ("smtp+starttls://livepin@mail.example.com", "starttls", 587, "livepin"),
        ("smtp+starttls://a%40example.com@mail.example.com:25", "starttls", 25, "a@example.com"),
        ("smtps://livepin@mail.example.com", "tls", 465, "livepin"),
        ("smtp+starttls://mail.example.com", "starttls", 587, None),
        ("smtp://localhost:2525", "cleartext", 2525, None),
        ("smtp://livepin@127.0.0.1", "cleartext", 25, "livepin"),
        ("smtp://[::1]", "cleartext", 25, None),
        ("smtp+cleartext://relay.example.com", "cleartext", 25, None),
    ],
)
def test_the_mail_server_is_read_from_its_url(url, security, port, user):
    found = mail(url, password="secret" if user else None)
    assert (found.security, found.port, found.user) == (security, port, user)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mail.example.com", "expected smtp"),
        ("https://mail.example.com", "expected smtp"),
        ("smtps://", "expected smtp"),
        ("smtps://mail.example.com/path", "expected smtp"),
        ("smtps://mail.example.com?x=y", "expected smtp"),
        ("smtps://mail.example.com:99999", "expected smtp"),
        ("smtps://mail.example.com:hunter2", "expected smtp"),
        ("smtps://livepin:hunter2#x@mail.example.com", "expected smtp"),
        ("smtps://livepin:1234#hunter2@mail.example.com", "expected smtp"),
        ("smtps://livepin:1234#", "expected smtp"),
        ("smtps://livepin:hunter2/x@mail.example.com", "expected smtp"),
        ("smtps://livepin:1234?hunter2@mail.example.com", "expected smtp"),
        ("smtps://livepin:hunter2\u2100@mail.example.com", "expected smtp"),
        ("smtps://livepin:[hunter2@mail.example.com", "expected smtp"),
        ("smtps://livepin:hunter2@mail.example.com", "expected no password in it"),
        ("smtp://mail.example.com", "expected TLS"),
        ("smtp+cleartext://livepin@mail.example.com", "would go in cleartext"),
    ],
)
def test_a_mail_server_without_tls_or_with_its_password_is_refused(url, reason):
    with pytest.raises(ConfigurationError, match=reason) as caught:
        mail(url)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_the_sender_is_an_address_and_both_settings_are_there():
    for sender in ("nobody", "a@b\\r\\nBcc: c@d", "Ops <a@example.com>"):
        with pytest.raises(ConfigurationError, match="smtp_from to be an address"):
            mail("smtps://mail.example.com", sender)
    for line in ('smtp = "smtps://mail.example.com"', 'smtp_from = "a@example.com"'):
        with pytest.raises(ConfigurationError, match="expected both smtp and smtp_from"):
            mail_server(parse(URLS + line, {}), None)
    assert mail_server(parse(URLS, {}), None) is None


def test_a_user_has_a_password_and_a_password_has_a_user():
    for url, password in (("smtps://a@mail.example.com", None), ("smtps://mail.example.com", "p")):
        with pytest.raises(ConfigurationError, match="the setting smtp has no") as caught:
            mail(url, password=password)
        assert "LIVEPIN_SMTP_PASSWORD" in caught.value.hint
