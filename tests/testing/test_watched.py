from gateway.envelope import Content
from gateway.testing.watched import WatchedContent


def test_a_watched_content_reads_like_the_one_it_watches():
    content = WatchedContent(Content(b"abcdef"))
    assert content.size == 6
    assert content.read() == b"".join(content.blocks(2)) == b"abcdef"
    assert content.open().read(3) == b"abc"
    assert not content.was_read_late


def test_a_derived_form_is_watched_too():
    content = WatchedContent(Content(b"abcdef"))
    derived = content.derive(prefix=b"x", omit=((0, 3),))
    content.emit_has_ended()
    assert derived.read() == b"xdef"
    assert content.was_read_late


def test_a_read_that_begins_before_the_end_and_goes_on_after_it_is_late():
    content = WatchedContent(Content(b"abcdef"), WatchedContent.emit_has_ended)
    content.read()
    assert content.was_read_late


def test_closing_it_leaves_the_watched_content_open(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        watched = Content(file=file)
        WatchedContent(watched).close()
        assert watched.read() == b"abc"
