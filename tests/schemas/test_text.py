"""The small languages: what they mean, and that a refusal is always one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.forms import FORMS
from schemas.text import (
    CRON_MACROS,
    check_name,
    cron_fields,
    expand_range,
    fill_template,
    nearest,
    parse_duration,
    parse_endpoint,
    parse_limit,
    parse_selector,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("10m", 600),
        ("1h30m", 5400),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("0s", 0),
        ("1.5s", 1.5),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "of_200"),
    [("0", 0), ("500", 500), ("25%", 50), ("0%", 0), ("0.5%", 1), ("99.9%", 199.8), ("100%", float("inf"))],
)
def test_a_limit_is_a_number_or_a_share(text: str, of_200: float) -> None:
    assert parse_limit(text).of(200) == pytest.approx(of_200)


@pytest.mark.parametrize("text", ["", "%", "-1", "1.5", "25 %", "101%", "all", "1e3", "٣%"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a (limit|share of the files) is "):
        parse_limit(text)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "5s5m", "1s1s", "1:30", "99999d", "٣s", "1e3s", "1h "]
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count_bytes"),
    [
        ("0B", 0),
        ("500MB", 500_000_000),
        ("10GiB", 10 * 2**30),
        ("1.5kB", 1500),
        ("2TiB", 2**41),
        ("unlimited", None),
    ],
)
def test_a_size_is_bytes(text: str, count_bytes: int | None) -> None:
    assert parse_size(text) == count_bytes


@pytest.mark.parametrize(
    "text", ["", "10", "GB", "-1GB", "1 GB", "1gb", "1Gbit", "1KB", "none", "1e3MB", "٣MB"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is a number with a unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hq", ["hq"]),
        ("b-[08:11]", ["b-08", "b-09", "b-10", "b-11"]),
        ("b-[8:11]x", ["b-8x", "b-9x", "b-10x", "b-11x"]),
        ("r[1:2]-n[1:2]", ["r1-n1", "r1-n2", "r2-n1", "r2-n2"]),
        ("b[0:1]", ["b0", "b1"]),
        ("b[7:7]", ["b7"]),
    ],
)
def test_a_range_gives_its_names_in_order(text: str, names: list[str]) -> None:
    assert expand_range(text) == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("b[01:100]", r'write "\[001:100\]"'),
        ("b[3:1]", "downward"),
        ("b[1:100001]", "100,000"),
        ("b[1:999][1:999]", "100,000"),
        ("b[" + "9" * 5000 + ":" + "9" * 5000 + "]", "too long"),
        ("b[a:c]", "not a range"),
        ("b[1]", "not a range"),
        ("b[1:2", "no partner"),
        ("b1:2]", "no partner"),
    ],
)
def test_other_ranges_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        expand_range(text)


def test_a_selector_needs_all_its_terms() -> None:
    selector = parse_selector("role=branch, link!=lte,canary,!retired")
    assert selector.matches({"role": "branch", "canary": "true"})
    assert not selector.matches({"role": "branch", "canary": "true", "link": "lte"})
    assert not selector.matches({"role": "branch"})
    assert not selector.matches({"role": "branch", "canary": "", "retired": "yes"})
    assert not selector.matches({"role": "hq", "canary": "true"})
    assert parse_selector("role==branch") == parse_selector("role=branch")


@pytest.mark.parametrize("text", ["", " ", ",", "a=b,", "=b", "a=", "a!=", "a b", "a=b c", "a in (b)", "a>b"])
def test_other_selectors_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"selector|label|value"):
        parse_selector(text)


@pytest.mark.parametrize(
    ("text", "node", "path"),
    [
        ("hq-a:/data", "hq-a", "/data"),
        ("hq-a:~/data", "hq-a", "~/data"),
        ("b-[01:40]:/data", "b-[01:40]", "/data"),
        ("hq:/a:b", "hq", "/a:b"),
        ("hq:/data/$(spoke.name)", "hq", "/data/$(spoke.name)"),
        ("hq:/", "hq", "/"),
    ],
)
def test_an_endpoint_is_a_node_and_a_path(text: str, node: str, path: str) -> None:
    assert parse_endpoint(text) == (node, path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hq", "no colon"),
        ("/data", "no colon"),
        (":/data", "starts with a node"),
        ("hq:", "empty"),
        ("hq:data", "relative"),
        ("hq:~user/x", "relative"),
        ("HQ:/data", "lower-case"),
        ("hq_a:/data", "lower-case"),
        ("hq:/da\nta", "control"),
        ("hq:/da\0ta", "control"),
        ("hq:/$(nme)", r'did you mean "\$\(name\)"'),
        ("hq:/$(name", "closing bracket"),
        ("b[3:1]:/x", "downward"),
    ],
)
def test_other_endpoints_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_endpoint(text)


def test_names_are_dns_labels() -> None:
    assert check_name("a" * 63) == "a" * 63
    for text in ("", "a" * 64, "-a", "a-", "a.b", "A", "ä", "a_b", "a b", "a\n"):
        with pytest.raises(ValueError, match="a name"):
            check_name(text)


def test_templates_are_filled() -> None:
    assert fill_template("/x/$(name)/$(label.zone)", {"name": "n1", "label.zone": "eu"}) == "/x/n1/eu"
    with pytest.raises(ValueError, match=r"\$\(label.zone\)"):
        fill_template("$(label.zone)", {"name": "n1"})


@pytest.mark.parametrize(
    ("word", "known"),
    [("hub-and-spok", "hub-and-spoke"), ("Full_Mesh", "full-mesh"), ("cont", "continuous"), ("zebra", "")],
)
def test_the_nearest_word_is_found(word: str, known: str) -> None:
    assert nearest(word, ["hub-and-spoke", "full-mesh", "continuous"]) == known


def test_cron_macros_are_written_out() -> None:
    assert cron_fields(" @daily ") == "0 0 * * *"
    assert cron_fields("0  2 * * 1-5") == "0 2 * * 1-5"
    for macro in CRON_MACROS:
        FORMS["cron"](macro)
    with pytest.raises(ValueError, match="macro"):
        cron_fields("@reboot")


@pytest.mark.parametrize(
    ("form", "text", "sentence"),
    [
        ("cron", "* * * *", "this one has 4"),
        ("cron", "0 0 * * * *", "this one has 6"),
        ("cron", "0 0 30 2 *", r"day of month field can't be|never comes"),
        ("cron", "61 * * * *", 'minute field can\'t be "61"'),
        ("cron", "* * * * mon-FRY", "SUN-SAT"),
        ("time-zone", "Europe/Berln", "Europe/Berlin"),
        ("time-zone", "Berlin", "Europe/Berlin"),
        ("time-zone", "../../etc/passwd", "IANA"),
        ("time-zone", "", "IANA"),
        ("time-zone", "Europe", "IANA"),
        ("gitignore", "!x", "include"),
        ("gitignore", "# x", "comment"),
        ("gitignore", " ", "empty"),
        ("gitignore", "x\\", "gitignore"),
        ("address", "hq-a:22", "port"),
        ("address", "1.2.3.400", "IPv4"),
        ("address", "1::2::3", "IPv6"),
        ("address", "a b", "host name"),
        ("address", "-oProxyCommand=x", "host name"),
        ("address", "$(spoke.name)", r"spoke\.name"),
        ("word", "-oProxyCommand=x", "letters"),
        ("command", "-x", "hyphen"),
        ("ssh-jump", "ops@", "missing"),
        ("ssh-jump", "a:99999", "port"),
        ("ssh-jump", "-x@a", "user"),
        ("host-key", "ssh-rsa AAAA", "ssh-ed25519"),
        ("host-key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "cut short"),
        ("label-value", "$(label.x)", "label"),
        ("endpoint", "b[1:2]:/x", "range"),
    ],
)
def test_other_forms_are_refused_with_a_reason(form: str, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FORMS[form](text)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("address", "10.0.0.7"),
        ("address", "fe80::1"),
        ("address", "$(name).$(label.site).example.net"),
        ("ssh-jump", "ops@bastion.example.net:22,inner"),
        ("host-key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " comment"),
        ("gitignore", "/build/**/*.o"),
        ("cron", "0 0 29 2 *"),
        ("time-zone", "Europe/Berlin"),
        ("label-value", "$(name)"),
        ("label-value", ""),
    ],
)
def test_forms_accept(form: str, text: str) -> None:
    FORMS[form](text)


def refusal(form: str, text: str) -> str | None:
    """Why a form refuses a text; None if it takes it."""
    try:
        FORMS[form](text)
    except ValueError as error:
        return str(error)
    return None


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.text(alphabet="aZ09-_./:@~$()[]{}*,!=#L ?\\\0²\n", max_size=24))
def test_a_form_refuses_by_a_sentence_and_nothing_else(form: str, text: str) -> None:
    assert refusal(form, text) != ""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="0123456789*/,-LW#MONJAN", min_size=1, max_size=6), min_size=5, max_size=5))
def test_any_cron_field_is_read_or_refused(fields: list[str]) -> None:
    assert refusal("cron", " ".join(fields)) != ""
