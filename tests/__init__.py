"""Black-box tests of the whole service. The tests of a package lie in that package."""

import pytest

# The support code asserts too; its failures should say as much as those of tests.
pytest.register_assert_rewrite("tests.support")
