r"""Finds what people post by mistake and a bot must not repeat: e-mail addresses, phone numbers, keys and passwords.

    pl.Series(["Call me: +44 20 7946 0958"]).str.contains(PRIVATE)      # [True]

The expressions are Rust's. They find what has the usual forms: not a number that is written in words, nor a key of a
kind that has no prefix of its own.
"""

_START = r"(?:^|[^@\w.%+-])"  # so that @ada@ferry.example, an account of Mastodon, is no address
_ADDRESSES = [
    _START + r"[\w.%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
    _START + r"[\w.%+-]+ ?[\[(] ?(?i:at) ?[\])] ?[A-Za-z0-9-]+(?: ?(?:\.|[\[(] ?(?i:dot) ?[\])]) ?[A-Za-z0-9-]+)+",
]
_PHONES = [
    r"\+\d(?:[ ().-]{0,2}\d){7,14}",  # +44 20 7946 0958
    r"\(\d{2,5}\) ?\d(?:[ .-]?\d){4,9}",  # (212) 555-0100
    r"\b\d{3}[ .-]\d{3}[ .-]\d{4}\b",  # 212-555-0100
    r"\b0\d{1,4}[ /-]\d(?:[ -]?\d){6,9}\b",  # 030 1234567
    r"\b0\d{9,10}\b",
    r"\b0\d{4} \d{3} ?\d{3}\b",  # 07700 900123
    r"\b0\d(?:\.\d{2}){4}\b",  # 06.12.34.56.78
]
_KEYS = [
    r"\b(?:sk|pk|rk)[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{16,}",
    r"\b(?:gh[oprsu]_|github_pat_|glpat-|hf_|npm_|xox[abeprs]-)[A-Za-z0-9_-]{16,}",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",  # a JSON web token
    r"\b[0-9A-Fa-f]{64}\b",
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
    r"(?i:\b(?:password|passwort|passwd|api[ _-]?key|secret[ _-]?key|access[ _-]?token)) ?[:=] ?\S{6,}",
]
PRIVATE = "|".join([*_ADDRESSES, *_PHONES, *_KEYS])
