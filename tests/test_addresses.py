"""Which base URLs an upstream may have, and which addresses are never connected to."""

import pytest

from modelbridge.upstream.addresses import check_base_url, is_forbidden, is_public


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://API.OpenAI.com:443/v1// ", "https://api.openai.com/v1"),
        ("HTTPS://api.example.com.", "https://api.example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"),
        ("https://x.example/a/~b/%7Ec;d=1/v1beta", "https://x.example/a/~b/%7Ec;d=1/v1beta"),
        ("https://8.8.8.8/v1", "https://8.8.8.8/v1"),
        ("https://[2606:4700:0:0::1111]:443/v1", "https://[2606:4700::1111]/v1"),
    ],
)
def test_a_public_https_url_is_kept_in_its_normal_form(given: str, kept: str) -> None:
    assert check_base_url(given, allow_private=False) == kept
    assert check_base_url(kept, allow_private=True) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "https://localhost:8080/v1",
        "https://llama.localhost/v1",
        "https://llama/v1",
        "https://box.local/v1",
        "https://vllm.corp.internal/v1",
        "https://127.0.0.1:8080/v1",
        "https://10.1.2.3/v1",
        "https://172.16.0.1/v1",
        "https://192.168.0.1/v1",
        "https://100.64.0.1/v1",
        "https://0.0.0.0/v1",
        "https://[::1]/v1",
        "https://[fd00::1]/v1",
        "https://[::ffff:127.0.0.1]/v1",
        "https://[64:ff9b::7f00:1]/v1",
        "https://[64:ff9b:1::7f00:1]/v1",
        "https://[::127.0.0.1]/v1",
        "https://[::ffff:0:127.0.0.1]/v1",
        "https://[::8.8.8.8]/v1",
    ],
)
def test_private_hosts_and_plain_http_are_a_choice(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        check_base_url(url, allow_private=False)
    assert check_base_url(url, allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[::169.254.169.254]",
        "[::ffff:0:169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "metadata.google.internal",
        "METADATA",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_link_local_and_metadata_are_never_allowed(host: str) -> None:
    for allow_private in (True, False):
        with pytest.raises(ValueError, match="base URL .* never allowed"):
            check_base_url(f"http://{host}/v1", allow_private=allow_private)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://user:secret@example.com/v1",
        "https://example.com@169.254.169.254/v1",
        "https://example.com\\@evil.example/v1",
        "https://example.com/v1?key=1",
        "https://example.com/v1#frag",
        "https://example.com/v1 /x",
        "https://example.com/v1\r\nX-Evil: 1",
        "https://exa mple.com/v1",
        "https://example.com:0/v1",
        "https://example.com:65536/v1",
        "https://example.com:port/v1",
        "https://example.com/../v1",
        "https://example.com/a/./v1",
        "https://example.com/%zz",
        "https://-example.com",
        "https://exam_ple..com",
        f"https://{'a' * 64}.com",
        "https://[::1",
        "https://[fe80::1%25eth0]/v1",
        "https://[1.2.3.4]/v1",
        "https://2130706433/v1",
        "https://127.1/v1",
        "https://0x7f.0.0.1/v1",
        "https://0177.0.0.1/v1",
    ],
)
def test_anything_else_is_refused_by_name(url: str) -> None:
    for allow_private in (True, False):
        with pytest.raises(ValueError, match="base URL"):
            check_base_url(url, allow_private=allow_private)


@pytest.mark.parametrize(
    ("address", "forbidden"),
    [
        ("169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("::ffff:169.254.169.254", True),
        ("2001:0:a9fe:a9fe::1", True),
        ("ff02::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("::1", False),
        ("8.8.8.8", False),
    ],
)
def test_the_address_that_is_connected_to_is_what_counts(address: str, forbidden: bool) -> None:
    assert is_forbidden(address) is forbidden


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("192.0.2.1", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::808:808", False),
        ("2002:a00:1::1", False),
    ],
)
def test_a_public_address_is_one_that_the_whole_internet_knows(address: str, public: bool) -> None:
    assert is_public(address) is public
