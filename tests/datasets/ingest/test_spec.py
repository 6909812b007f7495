"""A wrong spec names the key and the rule."""

import pytest

from bottega.datasets.ingest.spec import read_spec
from bottega.errors import InvalidInput

SPEC = """
table = "weather"
timezone = "America/New_York"

[source]
kind = "files"
path = "in/*.csv"

[[columns]]
name = "station"
type = "integer"

[[columns]]
name = "at"
type = "time"
official = "observed"

[[columns]]
name = "kind"
type = "text"
nullable = true

[[checks]]
reason = "too_small"
kind = "range"
column = "station"
minimum = 1

[[checks]]
reason = "unknown"
kind = "allowed"
column = "kind"
values = ["rain", "dry"]

[[checks]]
reason = "future"
kind = "past"
column = "at"

[[checks]]
reason = "twice"
kind = "duplicate"
columns = ["station", "at"]
"""


def test_a_spec_is_read_with_paths_beside_it(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    spec = read_spec(tmp_path / "spec.toml")
    assert spec.source.path == str(tmp_path / "in/*.csv")
    assert [check.kind for check in spec.checks] == ["range", "allowed", "past", "duplicate"]
    queue = '[source]\nkind = "queue"\nlog = "LOG"\ntopic = "t"\nreader = "r"\n[[columns]]\nname = "a"\ntype = "text"'
    for log, expected in (("log.db", str(tmp_path / "log.db")), ("kafka://h:9092", "kafka://h:9092")):
        (tmp_path / "queue.toml").write_text(f'table = "t"\n{queue.replace("LOG", log)}')
        assert read_spec(tmp_path / "queue.toml").source.log == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind = ", "kid = ", r"missing required field `kind` - at `\$\.source`"),
        ('kind = "files"', 'kind = "ftp"', r"Invalid value 'ftp' - at `\$\.source\.kind`"),
        ("path =", "file =", r"unknown field `file` - at `\$\.source`|missing required field `path`"),
        ('path = "in/*.csv"', 'path = "a"\nrows_at_once = 0', r"`int` >= 1 - at `\$\.source\.rows_at_once`"),
        ('path = "in/*.csv"', 'path = "a"\ndelimiter = ";;"', r"\$\.source\.delimiter"),
        ('type = "integer"', 'type = "int32"', r"Invalid enum value 'int32' - at `\$\.columns\[0\]\.type`"),
        ('name = "at"', 'name = "station"', r"columns\[1\]\.name: 'station' is there twice"),
        ('name = "at"', 'name = "a t"', r"columns\[1\]\.name: 'a t' is no name"),
        ('table = "weather"', 'table = "../weather"', r"table: '\.\./weather' is no name"),
        ('table = "weather"', 'table "weather"', "Expected '=' after a key"),
        ("America/New_York", "Mars/Base", "timezone: there is no zone 'Mars/Base'"),
        ('"too_small"', '"too small"', r"checks\[0\]\.reason: 'too small' is no name"),
        ('kind = "range"', 'kind = "null"', r"checks\[0\]\.kind: 'null' is not declared"),
        ('column = "station"', 'column = "zone"', r"checks\[0\]\.column: there is no column 'zone'"),
        ('column = "station"', 'column = "kind"', r"checks\[0\]\.column: 'kind' is text, no number"),
        ("minimum = 1", "", r"checks\[0\]: a range has no bound"),
        ("minimum = 1", "least = 1", r"unknown field `least`"),
        ('["rain", "dry"]', "[1, 2]", r"checks\[1\]\.values: \[1, 2\] are no values of a text column"),
        ('["rain", "dry"]', "[]", r"checks\[1\]\.values"),
        ('column = "at"', 'column = "kind"', r"checks\[2\]\.column: 'kind' is text, no time"),
        ('["station", "at"]', '["station", "zone"]', r"checks\[3\]\.columns: there is no column 'zone'"),
        ('["station", "at"]', "[]", r"checks\[3\]\.columns: there is no column ''"),
        ('kind = "files"\npath = "in/*.csv"', 'kind = "api"\nurl = "host"', r"source\.url: 'host' is no address"),
        ('kind = "files"\npath = "in/*.csv"', 'kind = "page"\nurl = "http://h"\npause_s = -1', r"\$\.source\.pause_s"),
    ],
)
def test_a_wrong_spec_names_the_key_and_the_rule(tmp_path, old, new, message):
    assert old in SPEC
    (tmp_path / "spec.toml").write_text(SPEC.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=message) as refused:
        read_spec(tmp_path / "spec.toml")
    assert refused.value.exit_code == 2


def test_a_spec_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read_spec(path)
    (tmp_path / "spec.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match=r"spec\.toml"):
        read_spec(tmp_path / "spec.toml")
    (tmp_path / "spec.toml").write_text('table = "t"\ncolumns = []\n[source]\nkind = "files"\npath = "a"\n')
    with pytest.raises(InvalidInput, match="columns: the table has none"):
        read_spec(tmp_path / "spec.toml")
    (tmp_path / "spec.toml").write_text(SPEC + '[[checks]]\nreason = "x"\nkind = "duplicate"\ncolumns = ["at"]\n')
    with pytest.raises(InvalidInput, match="more than one of kind 'duplicate'"):
        read_spec(tmp_path / "spec.toml")
