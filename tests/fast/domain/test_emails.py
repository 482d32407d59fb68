"""Addresses that look like others, and parts of addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.domain.emails import EmailAddress, search_keys
from userservice_core.testing import strategies


@pytest.mark.parametrize(
    ("address", "is_mixed"),
    [
        ("admin@example.com", False),
        ("\u0430dmin@example.com", True),
        ("admin@ex\u0430mple.com", True),
        ("admin@xn--exmple-4nf.com", True),
        ("\u0430\u0434\u043c\u0438\u043d@example.com", False),
        ("admin@\u043f\u0440\u0438\u043c\u0435\u0440.com", False),
        ("\u03bf.admin@example.com", True),
        ("jos\u00e9.mu\u00f1oz-99@example.com", False),
        ("\u5c71\u7530\u30bf\u30ed\u30a6.taro@example.jp", False),
        ("\u5c71\u7530\u0430@example.jp", True),
        ("\uff41\uff42c@example.com", False),
    ],
)
def test_letters_of_scripts_that_do_not_go_together_are_noticed(address: str, is_mixed: bool) -> None:  # noqa: FBT001
    """Within a part of the address; digits, marks and full-width forms are of no script."""
    assert EmailAddress.parse(address).is_mixed_script is is_mixed


@pytest.mark.asvs("1.2.9")
@given(strategies.emails(), st.data())
def test_a_part_of_an_address_is_found_in_its_key(email: EmailAddress, data: st.DataObject) -> None:
    """However it is written."""
    local_part = email.address.partition("@")[0]
    start = data.draw(st.integers(0, len(local_part) - 1))
    part = local_part[start:]

    assert any(key in email.key for key in search_keys(f" {part.upper()} "))
    assert any(key in email.key for key in search_keys(part))


@pytest.mark.parametrize(
    "part", ["b\u00fccher", "B\u00dcCHER.ex", "n@b\u00fccher.example", "@b\u00fccher", "xn--bch", "robin@xn--bcher"]
)
def test_a_part_of_a_domain_is_found_in_both_of_its_forms(part: str) -> None:
    """As Unicode, label by label, and as the A-labels that it stands for."""
    key = EmailAddress.parse("robin@b\u00fccher.example").key

    assert any(searched in key for searched in search_keys(part))


def test_a_part_that_is_no_domain_is_searched_as_it_is() -> None:
    """What cannot be a label stays what it is, and fails nobody."""
    assert search_keys("\u00fc_\u00fc..\u2603@") == ("\u00fc_\u00fc..\u2603@",)
    assert search_keys("\u00fc_\u00fc.de") == ("\u00fc_\u00fc.de",)
