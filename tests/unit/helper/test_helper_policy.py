"""The policy file: what it must not say, because guests or tools would be somebody else then."""

from __future__ import annotations

import os
import pwd

import pytest
from skep_helper import policy
from skep_helper.vocabulary import Rejected


@pytest.mark.parametrize("uids", [[0, 0], [0, 700], [999, 2000], [2000, 2000], [3000, 2000], [2000], [2000, 2**32 - 1]])
def test_guests_never_get_a_uid_of_the_system(uids: list[int]) -> None:
    with pytest.raises(Rejected, match="guest_uids must be"):
        policy.parse({"guest_uids": uids})


def test_guests_never_get_skepds_uid() -> None:
    nobody = pwd.getpwnam("nobody")
    with pytest.raises(Rejected, match="holds the uid of nobody"):
        policy.parse({"user": "nobody", "guest_uids": [nobody.pw_uid - 10, nobody.pw_uid + 10]})
    assert policy.parse({"user": "nobody", "guest_uids": [700_000, 700_010]}).guest_uids == (700_000, 700_010)


@pytest.mark.parametrize("prefix", ["", "eth01", "a/b", 'a"', "A", "1a"])
def test_an_interface_prefix_is_short_and_plain(prefix: str) -> None:
    with pytest.raises(Rejected, match="interface_prefix"):
        policy.parse({"interface_prefix": prefix})


def test_prefixes_of_the_host_are_prefixes() -> None:
    assert policy.parse({"host_prefixes": ["203.0.113.0/24"]}).host_prefixes == ("203.0.113.0/24",)
    with pytest.raises(Rejected, match="host_prefixes"):
        policy.parse({"host_prefixes": ["203.0.113.1/24"]})


def test_only_roots_policy_is_read(tmp_path: os.PathLike[str]) -> None:
    path = policy.Path(tmp_path) / "policy.toml"
    path.write_text("forwarding = true\n")
    path.chmod(0o666)
    with pytest.raises(Rejected, match="must belong to root"):
        policy.load(path)
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        policy.load(link)


@pytest.mark.parametrize(
    "name", ["tank", "/tank/skep", "tank/skep/", "tank//skep", "tank/sk ep", "t@x/skep", f"t/{'a' * 80}"]
)
def test_names_that_are_no_dataset_for_skep(name: str) -> None:
    with pytest.raises(Rejected, match="such as tank/skep"):
        policy.parse({"dataset": name})


def test_a_dataset() -> None:
    assert policy.parse({"dataset": "tank/virtual/skep"}).dataset == "tank/virtual/skep"
