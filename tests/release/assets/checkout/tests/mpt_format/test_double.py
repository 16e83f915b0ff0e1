from mpt_format import double


def test_number_is_doubled() -> None:
    assert double(2) == 4
