"""The words that search looks for: functions, and the indexes of messages and titles by them, built while the service writes.

`search_text` gives a text and a query the same form: NFKC, lower case, without what has no sign of its own (format characters,
variation selectors, skin tones, Arabic and Hebrew vowel marks), with a space in place of punctuation, and with each emoji,
symbol and rare ideograph as a word of its own. In scripts without spaces between words, and in Korean (particles),
each pair of neighbours is a word: abc becomes a ab bc c. The ranges of characters are written out, so that only lower case
depends on the locale of the database.

`search_words` makes a tsvector of that text. Positions are left out: they would cost three times as much, and GIN does not
store them. PostgreSQL refuses a tsvector over 1 MB. 100,000 characters stay below: a pair has at most six bytes and needs
four more. A lexeme can have 2,046 bytes.

`search_places` is the same with positions, for phrases. No index uses it.

The functions call nothing but PostgreSQL's own, so a restored dump can build the indexes before it sets a `search_path`. Nodes
of the version before use the older indexes, which stay. The statistics are as in migration 0004.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations

from conversations.migrating.indexes import BuildIndexFromSQL

# U+00AD soft hyphen, U+0307 the dot that lower case leaves of a Turkish İ, U+0640 the Arabic tatweel, …
UNSEEN = (
    r"\u00AD\u034F\u0307\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0610-\u061A\u061C\u0640\u064B-\u065F\u0670"
    r"\u06D6-\u06DC\u06DF-\u06E8\u06EA-\u06ED\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164"
    r"\uFE00-\uFE0F\uFEFF\uFFF9-\uFFFB\U0001F3FB-\U0001F3FF\U000E0000-\U000E0FFF"
)
# The punctuation of all scripts, and white space. What NFKC replaces (full width, for example) is not named.
BETWEEN_WORDS = (
    r"\u0080-\u00A1\u00A7\u00AB\u00AC\u00B4\u00B6-\u00B8\u00BB\u00BF\u02C2-\u02C5\u02D2-\u02DF\u055A-\u055F\u0589\u058A\u05BE\u05C0"
    r"\u05C3\u05C6\u05F3\u05F4\u060C\u060D\u061B\u061D-\u061F\u066A-\u066D\u06D4\u0700-\u070D\u07F7-\u07F9\u0964\u0965\u0970\u0DF4"
    r"\u0E2F\u0E4F\u0E5A\u0E5B\u0F04-\u0F14\u0F3A-\u0F3D\u104A-\u104F\u10FB\u1360-\u1368\u1400\u166E\u1680\u17D4-\u17DA"
    r"\u1800-\u180A\u1AA0-\u1AAD\u2000-\u206F\u2E00-\u2E7F\u3000-\u3003\u3008-\u3011\u3014-\u301F\u3030\u303D\u30A0\u30FB\uA9C1-\uA9CD"
    r"\uA9DE\uA9DF\uAADE\uAADF\uFD3E\uFD3F"
)
# Symbols, arrows, emoji, and ideographs beyond the 16-bit ones.
ALONE = (
    r"\u00A2-\u00A6\u00A9\u00AE-\u00B1\u00D7\u00F7\u20A0-\u20CF\u2100-\u2BFF\u3004\u3012\u3013\u3020\u303E\u303F\uFFFC\uFFFD"
    r"\U0001F000-\U0001FAFF\U00020000-\U0003FFFF"
)
# Thai, Lao, Burmese, Khmer, New Tai Lue, Tai Tham, Japanese, Bopomofo, Chinese, Yi, Korean.
UNSPACED = (
    r"\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u1980-\u19DF\u1A20-\u1A9F\u3005-\u3007\u3031-\u3035\u3040-\u30FF\u3105-\u312F"
    r"\u31A0-\u31BF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uA000-\uA48F\uA9E0-\uA9FF\uAA60-\uAA7F\uAC00-\uD7A3\uF900-\uFAFF"
)
SEARCH_TEXT = rf"""
CREATE OR REPLACE FUNCTION search_text(content text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $function$
DECLARE
    words text := left(content, 100000);
BEGIN
    IF octet_length(words) = length(words) THEN
        words := lower(words);
    ELSE
        IF words IS NOT NFKC NORMALIZED THEN
            -- NFKC makes two letters of the sign №, which would be one word with the number behind it.
            words := left(normalize(replace(words, U&'\2116', U&'\2116 '), NFKC), 100000);
        END IF;
        words := regexp_replace(lower(words), '[{UNSEEN}]+', '', 'g');
        words := regexp_replace(words, '[{BETWEEN_WORDS}]+', ' ', 'g');
        words := regexp_replace(words, '[{ALONE}]', ' \& ', 'g');
        words := regexp_replace(words, '[{UNSPACED}]+', ' \& ', 'g');
        words := regexp_replace(words, '[{UNSPACED}]', '\& \&', 'g');
    END IF;
    -- The Greek final sigma is a sigma, and the Turkish ı an i. Everything else becomes a space.
    RETURN translate(
        words,
        U&'\03C2\0131\0001\0002\0003\0004\0005\0006\0007\0008\0009\000A\000B\000C\000D\000E\000F\0010\0011\0012\0013\0014\0015\0016'
        '\0017\0018\0019\001A\001B\001C\001D\001E\001F\007F!"#$%&''()*+,-./:;<=>?@[\005C]^_`{{|}}~',
        U&'\03C3i' || repeat(' ', 64)
    );
END $function$
"""
SEARCH_WORDS = """
CREATE OR REPLACE FUNCTION search_words(words text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $function$
BEGIN
    IF words ~ '[^ ]{250}' THEN
        words := regexp_replace(words, '([^ ]{200})[^ ]+', '\\1', 'g');
    END IF;
    RETURN array_to_tsvector(array_remove(string_to_array(words, ' '), ''));
END $function$
"""
SEARCH_PLACES = """
CREATE OR REPLACE FUNCTION search_places(words text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $function$
BEGIN
    RETURN (
        SELECT coalesce(string_agg(left(word, 200) || ':' || place, ' ')::tsvector, '')
        FROM unnest(array_remove(string_to_array(words, ' '), '')) WITH ORDINALITY AS split (word, place)
    );
END $function$
"""
MESSAGES_INDEX = "USING gin (search_words(search_text(content))) WHERE status <> 'streaming'"
TITLES_INDEX = "USING gin (search_words(search_text(title)))"
DROP_STATISTICS = ("DROP STATISTICS IF EXISTS st_messages_words", "DROP STATISTICS IF EXISTS st_conversations_words")
CREATE_STATISTICS = [
    "CREATE STATISTICS st_messages_words ON (search_words(search_text(content))) FROM messages",
    "CREATE STATISTICS st_conversations_words ON (search_words(search_text(title))) FROM conversations",
]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0034_continue")]

    operations = [
        migrations.RunSQL(
            sql=[SEARCH_TEXT, SEARCH_WORDS, SEARCH_PLACES],
            reverse_sql=[
                "DROP FUNCTION IF EXISTS search_text(text)",
                "DROP FUNCTION IF EXISTS search_words(text)",
                "DROP FUNCTION IF EXISTS search_places(text)",
            ],
        ),
        BuildIndexFromSQL("messages", "idx_messages_words", MESSAGES_INDEX),
        BuildIndexFromSQL("conversations", "idx_conversations_words", TITLES_INDEX),
        migrations.RunSQL(
            sql=[*DROP_STATISTICS, *CREATE_STATISTICS, "ANALYZE messages", "ANALYZE conversations"],
            reverse_sql=DROP_STATISTICS,
        ),
    ]
