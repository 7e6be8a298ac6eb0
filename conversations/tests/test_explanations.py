"""What staff read about a reply that failed."""

from conversations.services.staff.failures import EXPLANATIONS, explain
from conversations.surfaces.error_codes import STREAM_CODES


def test_every_code_of_a_reply_is_explained() -> None:
    assert set(STREAM_CODES) - {"internal_error"} <= set(EXPLANATIONS)


def test_a_code_without_an_explanation_leads_to_the_log() -> None:
    assert explain("failed", "something_new").startswith("The reply failed.")
