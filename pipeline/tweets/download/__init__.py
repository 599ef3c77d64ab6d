"""Downloads people's posts from X, Bluesky and Mastodon, as the raw response pages that the readers take.

    huggingtweets fetch ada.bsky.social @ada@ferry.example nasa --out posts       # posts/{handle}.jsonl, a page a line

accounts.py tells which network an account is on; x.py, bluesky.py and mastodon.py each download one account; fetch.py
runs them side by side. A second call brings only what is newer, and a download that was interrupted continues where
it stopped: what a folder holds is read back from its files (pages.py).
"""
