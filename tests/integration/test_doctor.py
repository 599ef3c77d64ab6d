"""What the doctor finds on the tests' own cluster."""

import json

import pytest


@pytest.mark.usefixtures("cluster")
def test_the_real_cluster(make_fleet, huggingtweets):
    code, out, err = huggingtweets("doctor", make_fleet(("ada",)), "--json")
    assert code == 0, err
    found = {finding["check"]: finding for finding in json.loads(out)}
    assert found["store"]["level"] == found["nodes answer"]["level"] == found["dashboard"]["level"] == "ok"
    assert found["token"]["level"] == found["clocks"]["level"] == "ok"
    assert "ray 2." in found["versions"]["found"]
