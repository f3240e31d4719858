"""What of two clusters' places and tenants keeps one from being migrated to the other."""

from __future__ import annotations

from tests.actions.test_migration import TO, Pair, pair

__all__ = ["pair"]


def test_two_places_of_one_name(pair: Pair) -> None:
    """Buckets of one name, in two S3 servers."""
    pair.ends["target"]["location"] = "s3://three@backups/a"
    pair.stores["s3://three@backups/a"] = pair.stores[TO]
    for server, endpoint in ((pair.source, "one.example.com"), (pair.target, "two.example.com")):
        server.modules["backup-s3"] = {"bucketName": "backups", "rootName": "a", "endpoint": endpoint}
    assert "have one name, and seem to be two places" in str(pair.refused())


def test_place_at_the_root_that_the_target_would_look_for_below_its_own(pair: Pair) -> None:
    pair.ends["target"]["location"] = "s3://two@elsewhere"
    told = str(pair.refused())
    assert "Target: The server reads backups from bucket 'other', path 'b', and can't be told to read" in told


def test_fewer_nodes_than_may_hold_inactive_tenants(pair: Pair) -> None:
    """The server tells where active ones lie."""
    pair.source.nodes = {"w1": "HEALTHY", "w2": "HEALTHY"}
    pair.source.collections.clear()
    pair.source.add_collection("Shop", {"a": "HOT", "b": "COLD"})
    pair.source.holders["Shop"] = {"w1"}
    assert "lie on 2 nodes (w1, w2) and the target has 1" in str(pair.refused())


def test_inactive_tenants_where_all_is_to_be_compared(pair: Pair) -> None:
    pair.source.add_collection("Shop", {"a": "HOT", "b": "COLD"})
    assert pair.plan().collections == ("Article", "Author", "Shop")
    told = str(pair.refused(forbids_inactive=True))
    assert "Tenants of Shop are not active, so what they hold can't be compared: b." in told
    assert pair.plan(forbids_inactive=True, exclude=("Shop",)).collections == ("Article", "Author")
