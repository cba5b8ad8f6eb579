"""What holds on every platform: the same tests for all of them."""

from utils.platforms.protocol import Platform


def test_a_platform_fulfils_the_protocol(platform: Platform) -> None:
    assert isinstance(platform, Platform)
    assert platform.name


def test_provisioning_again_finds_what_is_there(platform: Platform) -> None:
    resources = platform.provision()
    assert {resource.state for resource in resources} == {"found"}
    names = [resource.name for resource in resources]
    # A platform may show more than these, which have their order.
    wanted = ["run history", "model registry", "compute"]
    assert [name for name in names if name in wanted] == wanted
