"""Tests of the whole service from outside, and of the documents that describe it. Tests of one module are beside it."""

import pytest

# The support code contains assertions too. Their failures should show values as those of tests do.
pytest.register_assert_rewrite("tests.support")
