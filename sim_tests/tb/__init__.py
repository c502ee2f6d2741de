"""Test benches shared by the tests."""
