"""The configuration of the router: who gets which request, told without an engine."""

from __future__ import annotations

import pytest

from utils.platforms.local.targets import haproxy
from utils.platforms.local.targets.haproxy import Backend

OLD, NEW, NEXT = (Backend(digit * 64, 0, (f"{digit}-1", f"{digit}-2")) for digit in "abc")


def shared(**shares: int) -> list[Backend]:
    versions = {"old": OLD, "new": NEW, "next_one": NEXT}
    return [Backend(versions[name].digest, share, versions[name].servers) for name, share in shares.items()]


def choices(backends: list[Backend]) -> list[str]:
    text, _ = haproxy.render(backends, port=5001)
    return [
        line.strip() for line in text.splitlines() if line.strip().startswith(("use_backend", "default_b"))
    ]


def test_one_version_gets_everything() -> None:
    assert choices(shared(old=100)) == [
        f"use_backend {'a' * 12} if {{ req.hdr(x-scoring-version) -m str {'a' * 12} }}",
        f"default_backend {'a' * 12}",
    ]


def test_shares_follow_one_another_on_the_dice_and_the_largest_gets_the_rest() -> None:
    lines = choices(shared(next_one=20, new=10, old=70))

    assert [line for line in lines if "dice" in line] == [
        f"use_backend {'b' * 12} if {{ var(txn.dice) -m int lt 10 }} {{ nbsrv({'b' * 12}) gt 0 }}",
        f"use_backend {'c' * 12} if {{ var(txn.dice) -m int lt 30 }} {{ nbsrv({'c' * 12}) gt 0 }}",
    ]
    assert lines[-1] == f"default_backend {'a' * 12}"


def test_a_version_without_a_share_gets_what_asks_for_it_and_nothing_else() -> None:
    lines = choices(shared(new=0, old=100))

    assert [line for line in lines if "b" * 12 in line.partition(" if ")[0]] == [
        f"use_backend {'b' * 12} if {{ req.hdr(x-scoring-version) -m str {'b' * 12} }}"
    ]


@pytest.mark.parametrize(
    ("other", "certificate"),
    [(shared(new=20, old=80), ""), (shared(new=10, old=90), "f00d.pem"), (shared(old=100), "")],
)
def test_each_configuration_has_a_generation_of_its_own(other: list[Backend], certificate: str) -> None:
    first = haproxy.render(shared(new=10, old=90), port=5001)
    assert haproxy.render(shared(new=10, old=90), port=5001) == first
    text, generation = haproxy.render(other, port=5001, certificate=certificate)
    assert generation != first[1]
    assert f'string "{generation}"' in text
    assert ("strict-transport-security" in text) == bool(certificate)
    assert ("ssl crt /router/f00d.pem" in text) == bool(certificate)


def test_when_led_to_a_version_the_router_must_know_its_addresses() -> None:
    text, _ = haproxy.render(shared(old=100), port=5001)
    assert "init-addr last,libc,none" in text
    assert "init-addr libc" in haproxy.strict(text)
    assert "none" not in haproxy.strict(text)
